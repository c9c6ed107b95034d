import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { hasTool } from '../../test/support/tools.ts';
import { ethernet, frame, ipv4, tcp } from './build.ts';
import { CaptureError, pcapHeader, pcapngHeader, pcapngPacket, pcapRecord, readCapture } from './capture.ts';

const directory = mkdtempSync(join(tmpdir(), 'seawall-capture-'));
afterAll(() => {
  rmSync(directory, { recursive: true });
});

const packets = [1, 2, 3].map((index) => {
  const data = frame([ethernet(), ipv4(), tcp({ source: 1000 + index })]);
  return { time: 1_700_000_000_123_456_789n + BigInt(index), data, length: data.length + index, linkType: 1 };
});
const pcap = Buffer.concat([pcapHeader(), ...packets.map(pcapRecord)]);
const pcapng = Buffer.concat([pcapngHeader(), ...packets.map(pcapngPacket)]);

it.each([
  ['pcap', pcap],
  ['pcapng', pcapng],
])('reads back the %s that it wrote', (_kind, bytes) => {
  expect([...readCapture(bytes)]).toEqual(packets);
});

it('reads the other byte order, and microseconds', () => {
  const swapped = Buffer.from(pcap);
  swapped.writeUInt32BE(0xa1b2c3d4, 0);
  for (const at of [16, 20]) swapped.writeUInt32BE(swapped.readUInt32LE(at), at);
  for (let at = 24; at < swapped.length; at += 16 + swapped.readUInt32BE(at + 8)) {
    for (const field of [0, 4, 8, 12]) swapped.writeUInt32BE(swapped.readUInt32LE(at + field), at + field);
  }
  expect([...readCapture(swapped)].map(({ data }) => data)).toEqual(packets.map(({ data }) => data));
  expect([...readCapture(swapped)][0]?.time).toBe(1_700_000_000n * 1_000_000_000n + 123_456_790n * 1000n);
});

it.each([
  ['an empty file', Buffer.alloc(0), 0],
  ['something else', Buffer.from('hello world, hello world'), 0],
  ['a pcap header cut short', pcap.subarray(0, 20), 20],
  ['a packet cut short', pcap.subarray(0, pcap.length - 1), pcap.length - packets[2]!.data.length - 16],
  ['a pcapng block cut short', pcapng.subarray(0, pcapng.length - 1), pcapng.length - packets[2]!.data.length - 2 - 32],
])('says where %s stops making sense', (_what, bytes, offset) => {
  let error: unknown;
  try {
    Array.from(readCapture(bytes));
  } catch (caught) {
    error = caught;
  }
  expect(error).toBeInstanceOf(CaptureError);
  expect((error as CaptureError).offset).toBe(offset);
});

describe.skipIf(!hasTool('tcpdump'))('with tcpdump (skipped where it is not installed)', () => {
  it.each([
    ['pcap', pcap],
    ['pcapng', pcapng],
  ])('tcpdump reads our %s', (kind, bytes) => {
    const file = join(directory, `ours.${kind}`);
    writeFileSync(file, bytes);
    const text = execFileSync('tcpdump', ['-nr', file], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    expect(text.split('\n').filter((line) => line.includes('10.0.0.1.100'))).toHaveLength(3);
  });

  it('reads what tcpdump writes', () => {
    const [ours, theirs] = [join(directory, 'in.pcap'), join(directory, 'out.pcap')];
    writeFileSync(ours, pcap);
    execFileSync('tcpdump', ['-r', ours, '-w', theirs], { stdio: 'ignore' });
    expect([...readCapture(readFileSync(theirs))].map(({ data }) => data.toString('hex'))).toEqual(
      packets.map(({ data }) => data.toString('hex')),
    );
  });
});
