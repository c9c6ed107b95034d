/** Lets each source send so many UDP packets a second, and tells of the others: `node udp-limit.js eth0 100`. */
import {
  be16,
  be32,
  bytes,
  lruHash,
  Program,
  RingBuffer,
  ringBuffer,
  struct,
  u64,
  UpdateFlag,
  XDP,
  XdpLink,
  xdp,
} from 'seawall/ebpf';
import { Eth, IPV4, Ipv4, ipv4Text, UDP, Udp } from './headers.js';

const [, , interfaceName = 'eth0', perSecond = '100'] = process.argv;
const BURST = 10n;
const SECOND = 1_000_000_000n;
// These are numbers of TypeScript: in the program they become constants.
const price = SECOND / BigInt(perSecond);
const credit = price * (BURST - 1n);

/** Until when what a source sent is paid for, in nanoseconds since boot: a token bucket in one number (GCRA). */
const sources = lruHash('sources', { key: be32, value: u64, maxEntries: 65_536 });
const Drop = struct('drop', { time: u64, source: be32, port: be16, pad: bytes(2) });
const drops = ringBuffer('drops', { size: 1 << 16 });

const udpLimit = xdp('udp_limit', ($, packet) => {
  const eth = packet.take(Eth).orExit(XDP.PASS);
  $.if(eth.proto.ne(IPV4), () => XDP.PASS);
  const ip = packet.take(Ipv4).orExit(XDP.PASS);
  $.if(ip.protocol.ne(UDP), () => XDP.PASS);
  packet.skip(ip.versionIhl.and(0x0f).shl(2).sub(Ipv4.size), { max: 40 }).orExit(XDP.PASS);
  const udp = packet.take(Udp).orExit(XDP.PASS);

  const now = $.ktimeGetNs();
  const bucket = $.lookup(sources, ip.source).orExit(() => {
    $.update(sources, ip.source, now.add(price), UpdateFlag.NOEXIST);
    return XDP.PASS;
  });
  const paid = $.let(bucket.value);
  $.if(paid.lt(now), () => {
    paid.set(now);
  });
  $.if(paid.sub(now).gt(credit), () => {
    $.record(drops, Drop, (record) => {
      record.set({ time: now, source: ip.source, port: udp.destination, pad: new Uint8Array(2) });
    });
    return XDP.DROP;
  });
  // Two CPUs that see one source at the same moment may charge once for two packets: good enough here.
  bucket.set({ value: paid.add(price) });
  return XDP.PASS;
});

using program = Program.load(udpLimit);
using ring = new RingBuffer(program.map(drops), program.map(drops.lost));
using link = XdpLink.attach(program, interfaceName);
console.log(`limiting in ${link.mode ?? 'unknown'} mode`);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ring[Symbol.dispose]());

// Sleeps while nothing comes; ends when the ring buffer is disposed of.
let lostBefore = 0n;
for await (const batch of ring.batches((memory, at) => decodeDrop(memory, at))) {
  for (const { source, port } of batch) console.log(`dropped ${source} to port ${String(port)}`);
  const { lost } = ring;
  if (lost > lostBefore) console.log(`${String(lost - lostBefore)} drops more found no room in the ring buffer`);
  lostBefore = lost;
}

function decodeDrop(memory: Buffer, at: number): { readonly source: string; readonly port: number } {
  const { source, port } = Drop.offsets;
  return { source: ipv4Text(memory.readUInt32BE(at + source)), port: memory.readUInt16BE(at + port) };
}
