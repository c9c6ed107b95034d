import { expect, it } from 'vitest';
import { decodeValue, Program, ringBuffer, RingBuffer, struct, u32, u64, xdp, XDP } from '../../src/ebpf/index.ts';
import { describeAsRoot } from '../support/as-root.ts';

const Note = struct('note', { number: u64, bytes: u32, pad: u32 });
const notes = ringBuffer('notes', { size: 4096 });
const ROOM = Math.floor(4096 / (Note.size + 8));
const data = new Uint8Array(64);

const writer = xdp('writer', ($, packet) => {
  const length = packet.remaining();
  $.record(notes, Note, (note) => {
    note.set({ number: length.add(1), bytes: length.u32(), pad: 0 });
  });
  return XDP.PASS;
});

interface Setup extends Disposable {
  readonly program: Program;
  readonly ring: RingBuffer;
}

function setUp(): Setup {
  const program = Program.load(writer);
  const ring = new RingBuffer(program.map(notes), program.map(notes.lost));
  return {
    program,
    ring,
    [Symbol.dispose]: () => {
      ring[Symbol.dispose]();
      program[Symbol.dispose]();
    },
  };
}

describeAsRoot('ring buffer', () => {
  it('hands over records in order, and counts what found no room', () => {
    using setup = setUp();
    const { program, ring } = setup;
    program.testRun({ data, repeat: ROOM + 50 });
    const read = countRecords(ring);
    expect(read).toBeGreaterThan(ROOM - 2);
    expect(ring.lost).toBe(BigInt(ROOM + 50 - read));
    expect(ring.pending).toBe(0);
  });

  it('ends with an error for who reads it after it was closed, or closes it while a batch is read', () => {
    using program = Program.load(writer);
    const ring = new RingBuffer(program.map(notes), program.map(notes.lost));
    program.testRun({ data, repeat: 3 });
    let seen = 0;
    const closing = (): void => {
      seen++;
      ring[Symbol.dispose]();
    };
    expect(ring.drain(closing)).toBe(1);
    expect(seen).toBe(1);
    expect(() => ring.drain(() => {})).toThrow('read ring buffer notes: it has been closed');
    expect(() => ring.pending).toThrow('it has been closed');
  });

  it('goes round and round, and stops where the handler says so', () => {
    using setup = setUp();
    const { program, ring } = setup;
    for (let round = 0; round < 100; round++) {
      program.testRun({ data, repeat: 7 });
      expect(ring.drain(() => true, 3)).toBe(3);
      let taken = 0;
      ring.drain(() => taken++ < 2);
      expect(taken).toBe(3);
      expect(countRecords(ring)).toBe(2);
    }
    expect(ring.lost).toBe(0n);
  });

  it('wakes a reader that waits, and ends with the ring', async () => {
    using setup = setUp();
    const { program, ring } = setup;
    const batches = ring.batches((memory, offset) => decodeValue(Note, memory, offset));
    const first = batches.next();
    program.testRun({ data });
    expect((await first).value).toEqual([{ number: 65n, bytes: 64, pad: 0 }]);
    const next = batches.next();
    ring[Symbol.dispose]();
    expect((await next).done).toBe(true);
  });
});

function countRecords(ring: RingBuffer): number {
  return ring.drain((memory, offset, length) => {
    expect(length).toBe(Note.size);
    expect(decodeValue(Note, memory, offset).bytes).toBe(64);
  });
}
