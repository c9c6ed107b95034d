/** The benchmark's programs in TypeScript; each has a twin in C under clang/ that does the same. */
import {
  array,
  arrayMap,
  be16,
  be32,
  bytes,
  type Int,
  lruHash,
  type MapSpec,
  type ProgramSpec,
  struct,
  u16,
  u32,
  u64,
  type View,
  XDP,
  xdp,
  type XdpAction,
  type XdpBuilder,
  type XdpPacket,
} from '../src/ebpf/language.ts';
import { foldSum } from '../src/net/checksum.ts';
import { ETH_P, Eth, IPPROTO, Ipv4, Tcp, TCP_FLAG } from '../src/net/headers.ts';

export interface CodegenProgram {
  readonly name: string;
  /** The C twin under bench/clang. */
  readonly twin: string;
  readonly spec: ProgramSpec;
  readonly maps: readonly MapSpec[];
}

interface Syn {
  readonly ip: View<(typeof Ipv4)['fields']>;
  readonly tcp: View<(typeof Tcp)['fields']>;
}

function parseSyn($: XdpBuilder, packet: XdpPacket): Syn {
  const eth = packet.take(Eth).orExit(XDP.PASS);
  $.if(eth.proto.ne(ETH_P.IP), () => XDP.PASS);
  const ip = packet.take(Ipv4).orExit(XDP.PASS);
  $.if(ip.protocol.ne(IPPROTO.TCP), () => XDP.PASS);
  packet.skip(ip.versionIhl.and(0x0f).shl(2).sub(Ipv4.size), { max: 40 }).orExit(XDP.PASS);
  const tcp = packet.take(Tcp).orExit(XDP.PASS);
  $.if(tcp.flags.and(TCP_FLAG.SYN | TCP_FLAG.ACK).ne(TCP_FLAG.SYN), () => XDP.PASS);
  return { ip, tcp };
}

const parse = xdp('parse', ($, packet) => {
  const { tcp } = parseSyn($, packet);
  return $.if(
    tcp.dest.eq(80),
    () => XDP.DROP,
    () => XDP.PASS,
  );
});

const SECOND = 1_000_000_000;
const BURST = 5;
const Bucket = struct('bucket', { tokens: u64, refilled: u64 });
const buckets = lruHash('buckets', { key: u32, value: Bucket, maxEntries: 65_536 });

const bucketLru = xdp('bucket_lru', ($, packet) => {
  const { ip } = parseSyn($, packet);
  const key = ip.saddr.raw();
  const now = $.ktimeGetNs();
  const bucket = $.lookup(buckets, key).orExit(() => {
    $.update(buckets, key, { tokens: BURST - 1, refilled: now });
    return XDP.PASS;
  });
  const tokens = $.let(bucket.tokens);
  const refilled = bucket.refilled;
  const elapsed = now.sub(refilled);
  $.if(elapsed.ge(SECOND), () => {
    const back = elapsed.div(SECOND);
    tokens.set(tokens.add(back));
    $.if(tokens.gt(BURST), () => {
      tokens.set(BURST);
    });
    bucket.set({ refilled: refilled.add(back.mul(SECOND)) });
  });
  $.if(tokens.eq(0), () => XDP.DROP);
  bucket.set({ tokens: tokens.sub(1) });
  return XDP.PASS;
});

const CELLS = 1 << 20;
const INTERVAL = 1_000_000_000;
const cells = arrayMap('cells', { value: u64, maxEntries: CELLS });

function gcra($: XdpBuilder, address: Int<32>): XdpAction {
  const first = address.mul(0x9e3779b1);
  const second = first.xor(first.shr(15)).mul(0x85ebca6b);
  // 19 bits are left after the shift, so only the other side needs the mask; clang finds this too.
  const key = second.and(CELLS - 1).xor(second.shr(13));
  const cell = $.lookup(cells, key).orExit(XDP.PASS);
  const now = $.ktimeGetCoarseNs();
  const before = cell.value;
  const start = $.select(before.gt(now), before, now);
  $.if(start.sub(now).gt(4 * INTERVAL), () => XDP.DROP);
  const found = cell.ref('value').compareExchange(before, start.add(INTERVAL));
  $.if(found.ne(before), () => XDP.DROP);
  return XDP.PASS;
}

const gcraOne = xdp('gcra_one', ($, packet) => gcra($, parseSyn($, packet).ip.saddr.raw()));
const gcraRandom = xdp('gcra_random', ($, packet) => {
  parseSyn($, packet);
  return gcra($, $.randomU32());
});

/** TCP with the data offset and flags as one word, which is rewritten at once. */
const TcpWords = struct('tcp', {
  source: be16,
  dest: be16,
  seq: be32,
  ack: be32,
  offsetFlags: u16,
  window: be16,
  checksum: be16,
  urgent: be16,
});

const rewrite = xdp('rewrite', ($, packet) => {
  const eth = packet.take(Eth).orExit(XDP.PASS);
  $.if(eth.proto.ne(ETH_P.IP), () => XDP.PASS);
  const ip = packet.take(Ipv4).orExit(XDP.PASS);
  $.if(ip.protocol.ne(IPPROTO.TCP), () => XDP.PASS);
  packet.skip(ip.versionIhl.and(0x0f).shl(2).sub(Ipv4.size), { max: 40 }).orExit(XDP.PASS);
  const tcp = packet.take(TcpWords).orExit(XDP.PASS);
  const flags = tcp.offsetFlags;
  const [dst, saddr, source] = [eth.dst, ip.saddr, tcp.source];
  eth.set({ dst: eth.src, src: dst });
  ip.set({ saddr: ip.daddr, daddr: saddr });
  tcp.set({ source: tcp.dest, dest: source });

  const seq = tcp.seq;
  const ack = seq.host().add(1).toNetwork();
  const cookie = saddr.raw().xor(seq.raw().mul(0x9e3779b1));
  const newFlags = flags.or(0x1000);
  const halves = (word: Int<32>): Int<32> => word.and(0xffff).add(word.shr(16));
  const sum = tcp.checksum
    .raw()
    .not()
    .u32()
    .add(flags.not().u32())
    .add(newFlags.u32())
    .add(halves(ack.raw()))
    .add(halves(cookie))
    .add(halves(seq.raw().not()));
  tcp.ref('seq').setRaw(cookie);
  tcp.set({ ack, offsetFlags: newFlags });
  tcp.ref('checksum').setRaw(foldSum(sum).not());
  return XDP.TX;
});

const Digest = struct('digest', { a: u64, b: u64 });
const digests = arrayMap('digests', { value: Digest, maxEntries: 1 });
const WORDS = 12;
const Words = struct('words', { words: array(u32, WORDS), rest: bytes(6) });

const spill = xdp('spill', ($, packet) => {
  const { words } = packet.take(Words).orExit(XDP.PASS);
  const loaded = Array.from({ length: WORDS }, (_, index) => words.at(index));
  const now = $.ktimeGetCoarseNs().u32();
  const digest = $.lookup(digests, 0).orExit(XDP.PASS);
  let [a, b] = [now, now.not()];
  for (const word of loaded) {
    a = a.xor(word).mul(0x9e3779b1);
    b = b.add(word).xor(a.shr(15));
  }
  digest.set({ a: a.u64(), b: b.u64() });
  return XDP.PASS;
});

export const codegenPrograms: readonly CodegenProgram[] = [
  { name: 'parse only', twin: 'parse', spec: parse, maps: [] },
  { name: 'token bucket in an LRU hash', twin: 'bucket_lru', spec: bucketLru, maps: [buckets] },
  { name: 'GCRA in a hashed array, one source', twin: 'gcra_one', spec: gcraOne, maps: [cells] },
  { name: 'GCRA in a hashed array, random sources', twin: 'gcra_random', spec: gcraRandom, maps: [cells] },
  { name: 'header rewrite with checksum and XDP_TX', twin: 'rewrite', spec: rewrite, maps: [] },
  { name: 'twelve words alive across calls', twin: 'spill', spec: spill, maps: [digests] },
];
