import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  array,
  arrayMap,
  be16,
  be32,
  be64,
  bytes,
  dump,
  encodeValue,
  ringBuffer,
  RingBuffer,
  type XdpBuilder,
  type BytesValue,
  hashMap,
  lpmTrie,
  Program,
  struct,
  type Type,
  u16,
  u32,
  u64,
  u8,
  XDP,
  xdp,
} from '../../src/ebpf/index.ts';
import { describeAsRoot } from '../support/as-root.ts';

/** Part of `struct bpf_fib_lookup` (linux/bpf.h). */
const FibLookup = struct('bpf_fib_lookup', {
  family: u8,
  protocol: u8,
  ports: bytes(4),
  totalLength: u16,
  interfaceIndex: u32,
  flow: u32,
  source: bytes(16),
  destination: bytes(16),
  vlan: u32,
  smac: bytes(6),
  dmac: bytes(6),
});

const Flat = fc.oneof(
  fc.constantFrom<Type>(u8, u16, u32, u64, be16, be32, be64),
  fc.integer({ min: 1, max: 20 }).map((size) => bytes(size)),
);

/** A struct of these fields, with bytes before those that would not be aligned. */
function padded(types: readonly Type[]): ReturnType<typeof struct> {
  const fields: Record<string, Type> = {};
  let size = 0;
  types.forEach((type, index) => {
    const align = type.kind === 'scalar' ? type.size : 1;
    const gap = (align - (size % align)) % align;
    if (gap > 0) fields[`gap${String(index)}`] = bytes(gap);
    fields[`field${String(index)}`] = type;
    size += gap + type.size;
  });
  return struct('random', fields);
}

/** A view of a struct whose fields nobody knows; those of them that are bytes compare. */
type View = Readonly<Record<string, BytesValue>> & { set(values: object): void };

describeAsRoot('memory', () => {
  it('looks an IPv6 address up by its longest prefix, behind a length of 32 bits', () => {
    const Prefix = struct('prefix', { length: u32, address: bytes(16) });
    const networks = lpmTrie('networks', { key: Prefix, value: u32, maxEntries: 4 });
    const Question = struct('question', { skipped: be16, address: bytes(16) });
    using program = Program.load(
      xdp('longest', ($, packet) => {
        const { address } = packet.take(Question).orExit(XDP.ABORTED);
        return $.lookup(networks, { length: 128, address }).orExit(XDP.ABORTED).value;
      }),
    );
    const network = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.padEnd(32, '0'), 'hex'));
    program.map(networks).update({ length: 32, address: network('20010db8') }, 32);
    program.map(networks).update({ length: 48, address: network('20010db80007') }, 48);
    const ask = (hex: string): number =>
      program.testRun({ data: Buffer.concat([Buffer.alloc(2), network(hex), Buffer.alloc(14)]) }).verdict;
    expect([ask('20010db8000700000001'), ask('20010db80008'), ask('20010db9')]).toEqual([48, 32, 0]);
  });

  it('has keys whose bytes lie behind 16 bits', () => {
    const Station = struct('station', { vlan: be16, address: bytes(6) });
    const stations = hashMap('stations', { key: Station, value: u32, maxEntries: 4 });
    const Eth = struct('eth', { dst: bytes(6), src: bytes(6), type: be16 });
    using program = Program.load(
      xdp('stations', ($, packet) => {
        const { dst } = packet.take(Eth).orExit(XDP.ABORTED);
        return $.lookup(stations, { vlan: 7, address: dst }).orExit(XDP.ABORTED).value;
      }),
    );
    program.map(stations).update({ vlan: 7, address: Uint8Array.of(1, 2, 3, 4, 5, 6) }, 99);
    expect(program.testRun({ data: Buffer.concat([Buffer.of(1, 2, 3, 4, 5, 6), Buffer.alloc(8)]) }).verdict).toBe(99);
  });

  it('reads the address that a route look-up wrote into the frame', () => {
    const seen = arrayMap('seen', { value: struct('seen', { dmac: bytes(6), same: u16 }), maxEntries: 1 });
    using program = Program.load(
      xdp('route', ($, packet) => {
        const route = $.stack(FibLookup);
        route.set({ family: 2, interfaceIndex: packet.ingressInterface(), dmac: Uint8Array.of(9, 8, 7, 6, 5, 4) });
        const { dmac } = route;
        $.call('fib_lookup', packet, route, FibLookup.size, 0);
        $.at(seen, 0).set({ dmac });
        $.if(route.dmac.eq(dmac), () => {
          $.at(seen, 0).set({ same: 1 });
        });
        return XDP.PASS;
      }),
    );
    program.testRun({ data: new Uint8Array(64) });
    expect(program.map(seen).lookup(0)).toEqual({ dmac: Uint8Array.of(9, 8, 7, 6, 5, 4), same: 1 });
  });

  it('reaches elements of the frame by an index of the kernel', () => {
    const Hops = struct('hops', { first: be16, hops: array(struct('hop', { vlan: be16, address: bytes(6) }), 4) });
    const Word = struct('word', { index: u8, bytes: bytes(6) });
    using program = Program.load(
      xdp('hops', ($, packet) => {
        const word = packet.peek(Word).orExit(XDP.ABORTED);
        const hops = $.stack(Hops);
        hops.hops.at(word.index.and(3)).set({ vlan: 5, address: word.bytes });
        const { address } = hops.hops.at(word.index.and(3));
        $.if(address.eq(hops.hops.at(2).address), () => XDP.TX);
        return XDP.PASS;
      }),
    );
    const run = (index: number): number =>
      program.testRun({ data: Buffer.concat([Buffer.of(index, 1, 2, 3, 4, 5, 6), Buffer.alloc(8)]) }).verdict;
    expect([run(2), run(1)]).toEqual([XDP.TX.code, XDP.PASS.code]);
  });

  it('hands no old memory over in a ring record, whatever its block left out', () => {
    const Inner = struct('inner', { a: u16, b: be16, c: bytes(4) });
    const Record = struct('record', {
      kind: u32,
      inner: Inner,
      list: array(u32, 3),
      tail: bytes(5),
      last: u8,
      pad: bytes(2),
    });
    const ring = ringBuffer('records', { size: 4096 });
    const Start = struct('start', { index: u8, dirty: u8 });
    using program = Program.load(
      xdp('records', ($, packet) => {
        const start = packet.peek(Start).orExit(XDP.ABORTED);
        const dirty = start.dirty.eq(1);
        $.if(
          dirty,
          () => {
            $.record(ring, Record, (record) => {
              const ones = 0xffff_ffff;
              record.set({ kind: ones, inner: { a: 0xffff, b: 0xffff, c: new Uint8Array(4).fill(255) } });
              for (let at = 0; at < 3; at++) record.list.ref(at).set(ones);
              record.set({ tail: new Uint8Array(5).fill(255), last: 255, pad: new Uint8Array(2).fill(255) });
            });
          },
          () => {
            $.record(ring, Record, (record) => {
              record.set({ inner: { b: 7 } });
              record.list.ref(start.index.and(1)).set(9);
              $.if(start.index.eq(77), () => {
                record.set({ kind: 1 });
              });
              record.ref('last').add(3);
            });
          },
        );
        return XDP.PASS;
      }),
    );
    const reader = new RingBuffer(program.map(ring));
    try {
      const run = (index: number, dirty: number): string[] => {
        const seen: string[] = [];
        program.testRun({ data: Buffer.concat([Buffer.of(index, dirty), Buffer.alloc(14)]) });
        reader.drain((bytesOf, start, length) => {
          seen.push(Buffer.from(bytesOf).toString('hex', start, start + length));
        });
        return seen;
      };
      const expected = encodeValue(Record, {
        kind: 0,
        inner: { a: 0, b: 7, c: new Uint8Array(4) },
        list: [0, 9, 0],
        tail: new Uint8Array(5),
        last: 3,
        pad: new Uint8Array(2),
      }).toString('hex');
      // The ring's memory comes round: each of its bytes was written with ones before.
      for (let round = 0; round < 200; round++) expect(run(0, 1)).toEqual(['ff'.repeat(Record.size)]);
      for (let round = 0; round < 100; round++) expect(run(1, 0)).toEqual([expected]);
    } finally {
      reader[Symbol.dispose]();
    }
  });

  it('puts no zeros into a record that is set whole', () => {
    const Whole = struct('whole', { a: u64, b: u32, c: bytes(4) });
    const ring = ringBuffer('whole', { size: 4096 });
    const stores = (fill: Parameters<XdpBuilder['record']>[2]): number => {
      const spec = xdp('whole', ($) => {
        $.record(ring, Whole, fill as never);
        return XDP.PASS;
      });
      return dump(spec)
        .ir.split('\n')
        .filter((line) => line.includes('whole') && line.includes('= 0')).length;
    };
    expect(stores((record) => (record as never as View).set({ a: 1, b: 2, c: new Uint8Array(4).fill(1) }))).toBe(0);
    expect(stores((record) => (record as never as View).set({ b: 2 }))).toBe(2);
  });

  it('takes views as parts of values, and of other structs by the names of their fields', () => {
    const Pair = struct('pair', { a: u32, b: u32 });
    const Whole = struct('whole', { pair: Pair, number: u32 });
    const Wide = struct('wide', { other: u32, b: u32, a: u32 });
    const pairs = hashMap('pairs', { key: Pair, value: Whole, maxEntries: 4 });
    const wholes = hashMap('wholes', { key: Whole, value: u32, maxEntries: 4 });
    const spec = xdp('views', ($, packet) => {
      const wide = packet.take(Wide).orExit(XDP.ABORTED);
      const pair = $.stack(Pair);
      pair.set(wide);
      const whole = $.stack(Whole);
      whole.set({ pair, number: 5 });
      $.update(pairs, wide, { pair: wide, number: 6 });
      $.update(wholes, { pair, number: 7 }, whole.pair.a);
      return $.lookup(pairs, wide).orExit(XDP.DROP).number;
    });
    const data = Buffer.alloc(64);
    [9, 2, 1].forEach((value, index) => data.writeUInt32LE(value, 4 * index));
    for (const backend of ['optimizing', 'naive'] as const) {
      using program = Program.load(spec, { backend });
      expect(program.testRun({ data }).verdict).toBe(6);
      expect([...program.map(pairs).entries()]).toEqual([
        [
          { a: 1, b: 2 },
          { pair: { a: 1, b: 2 }, number: 6 },
        ],
      ]);
      expect([...program.map(wholes).entries()]).toEqual([[{ pair: { a: 1, b: 2 }, number: 7 }, 1]]);
    }
  });

  it('reaches what lies further in than an instruction can say', () => {
    const Far = struct('far', { items: array(u64, 9000), last: u32 });
    const far = arrayMap('far', { value: Far, maxEntries: 1 });
    const spec = xdp('far', ($) => {
      const value = $.at(far, 0);
      value.items.ref(8000).set(3);
      value.ref('last').atomicAdd(4);
      return value.last.add(value.items.at(8000).u32());
    });
    for (const backend of ['optimizing', 'naive'] as const) {
      using program = Program.load(spec, { backend });
      expect(program.testRun({ data: Buffer.alloc(64) }).verdict).toBe(7);
      const { items, last } = program.map(far).lookup(0)!;
      expect([items[8000], items[0], last]).toEqual([3n, 0n, 4]);
    }
  });

  it('fills with zeros what the value of an update leaves out, parts of parts and arrays too', () => {
    const Part = struct('part', { a: u32, b: u32 });
    const Value = struct('value', { part: Part, list: array(u32, 2), count: u64 });
    const table = hashMap('parts', { key: Part, value: Value, maxEntries: 4 });
    using program = Program.load(
      xdp('parts', ($) => {
        const old = $.stack(struct('old', { words: array(u64, 8) }));
        for (let at = 0; at < 8; at++) old.words.ref(at).set(0xffff_ffff_ffff_ffffn);
        $.call('csum_diff', old, 0, old, 64, 0);
        $.update(table, { b: 2 }, { part: { b: 5 }, count: 6 });
        return XDP.PASS;
      }),
    );
    program.testRun({ data: new Uint8Array(64) });
    expect([...program.map(table).entries()]).toEqual([
      [
        { a: 0, b: 2 },
        { part: { a: 0, b: 5 }, list: [0, 0], count: 6n },
      ],
    ]);
  });

  it('copies structs of any fields between packet, frame and map', () => {
    fc.assert(
      fc.property(fc.array(Flat, { minLength: 1, maxLength: 6 }), fc.integer({ min: 0, max: 7 }), (types, before) => {
        const Struct = padded(types);
        const align = Math.max(...types.map((type) => (type.kind === 'scalar' ? type.size : 1)));
        // The struct lies at another place in each kind of memory, so that no two are aligned alike.
        const Shifted = struct('shifted', { front: bytes(8 + before - (before % align)), inner: Struct });
        const values = arrayMap('values', { value: Struct, maxEntries: 1 });
        const names = Object.keys(Struct.fields);
        const ones = names.map((name) => {
          const type = Struct.fields[name]!;
          return [name, type.kind === 'bytes' ? new Uint8Array(type.size).fill(0xff) : 0];
        });
        const spec = xdp('copies', ($, packet) => {
          packet.skip(14 + before, { max: 64 }).orExit(XDP.ABORTED);
          const given = packet.peek(Struct).orExit(XDP.ABORTED) as View;
          const kept = $.stack(Shifted).inner as unknown as View;
          const stored = $.at(values, 0) as unknown as View;
          const fields = (of: View): object => Object.fromEntries(names.map((name) => [name, of[name]]));
          kept.set(fields(given));
          stored.set(fields(kept));
          given.set(Object.fromEntries(ones));
          for (const name of names.filter((candidate) => Struct.fields[candidate]!.kind === 'bytes')) {
            const [a, b, c] = [kept[name]!, stored[name]!, given[name]!];
            const size = Struct.fields[name]!.size;
            $.if(
              a
                .eq(b)
                .and(b.eq(a))
                .and(c.eq(new Uint8Array(size).fill(0xff)))
                .not(),
              () => XDP.DROP,
            );
          }
          given.set(fields(stored));
          return XDP.TX;
        });
        const data = Buffer.alloc(Math.max(64, 22 + Struct.size)).map((_, index) => (index * 37 + 11) & 0xff);
        using program = Program.load(spec);
        const result = program.testRun({ data });
        expect(result.verdict).toBe(XDP.TX.code);
        expect(Buffer.compare(result.data, data), result.data.toString('hex')).toBe(0);
      }),
      { numRuns: 60 },
    );
  });
});
