/** The flood generator: an XDP program that turns one SYN into many, run on live frames, which leave by XDP_TX. */
import {
  array,
  arrayMap,
  bytes,
  type Int,
  type ProgramSpec,
  struct,
  u32,
  u64,
  XDP,
  xdp,
  type XdpBuilder,
} from '../src/ebpf/language.ts';
import { addressBytes, ipv4Number } from '../src/net/address.ts';
import { frame, ethernet, ipv4, ipv6, tcp } from '../src/net/build.ts';
import { foldSum, halves, pseudoHeaderSum, sumWords } from '../src/net/checksum.ts';
import { ETH_P, Eth, IPPROTO, Ipv4, Ipv6, Tcp } from '../src/net/headers.ts';
import { LINUX_SYN_OPTIONS, type TcpOption } from '../src/net/tcp-options.ts';

/** `one` source, a number of them, or any address at all. */
export type FloodSources = 'one' | 'random' | number;

export interface FloodTarget {
  readonly mac: string;
  readonly address: string;
  readonly port: number;
}

/** `next` is when the next frame is due in a row without pauses, in units of 1/1024 ns from the start. */
const FloodState = struct('flood', { start: u64, deadline: u64, sent: u64, next: u64 });
export const floodState = arrayMap('flood', { value: FloodState, maxEntries: 1, mmap: true });

/** Forged sources lie in the range for benchmarks (RFC 2544, 198.18.0.0/15), which no host has, unless they are random. */
const FIRST_SOURCE = '198.18.0.1';
export const MAX_SOURCES = 1 << 17;

const ACK_OPTIONS: readonly TcpOption[] = [{ kind: 'nop' }, { kind: 'nop' }, { kind: 'timestamps', value: 1, echo: 1 }];

/** 32 bits as the kernel program has them in a register after a load from memory in network order. */
function memoryWord(number: number): number {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(number);
  return bytes.readUInt32LE();
}

/** A sum of big-endian words, as the sum of the same words read little-endian (RFC 1071, section 2B). */
const swapSum = (sum: number): number => ((sum & 0xff) << 8) | (sum >> 8);

/** What a flood is made of: SYNs as a Linux client sends them, all options included, or ACKs of no connection. */
export const floodKinds = ['syn', 'ack'] as const;
export type FloodKind = (typeof floodKinds)[number];

/** The segment that is sent again and again. */
export function floodFrame({ mac, address, port }: FloodTarget, sourceMac: string, kind: FloodKind = 'syn'): Buffer {
  const network = address.includes(':')
    ? ipv6({ src: '::', dst: address })
    : ipv4({ src: '0.0.0.0', dst: address, checksum: 0 });
  return frame([
    ethernet({ src: sourceMac, dst: mac }),
    network,
    kind === 'syn'
      ? tcp({ source: 0, dest: port, seq: 0, flags: ['SYN'], options: LINUX_SYN_OPTIONS, checksum: 0 })
      : tcp({ source: 0, dest: port, seq: 0, ack: 1, flags: ['ACK'], options: ACK_OPTIONS, checksum: 0 }),
  ]);
}

/** Any unicast address outside 0/8, 10/8 and 127/8, where the lab and its hosts live: the first octet is from 11 to 126. As it lies in memory. */
export function randomAddress($: XdpBuilder): Int<32> {
  const random = $.randomU32();
  return random.shr(8).shl(8).or(random.shr(24).mod(116).add(11));
}

/** The words of a forged source: one for IPv4, four for IPv6. */
function sourceAddress($: XdpBuilder, sources: FloodSources, family: 4 | 6): Int<32>[] {
  const number = (): Int<32> => (sources === 'one' ? $.u32(0) : $.randomU32());
  if (family === 6) {
    // 2001:2::/48 is for benchmarks (RFC 5180); any address lies in 2000::/4, which holds the addresses in use.
    const low =
      sources === 'one' ? $.u32(1) : sources === 'random' ? number() : number().mod(sources).toNetwork().raw();
    if (sources !== 'random') return [$.u32(memoryWord(0x2001_0002)), $.u32(0), $.u32(0), low];
    return [
      number()
        .and(~0xff >>> 0)
        .or(0x20),
      number(),
      number(),
      low,
    ];
  }
  const first = ipv4Number(FIRST_SOURCE);
  if (sources === 'one') return [$.u32(memoryWord(first))];
  return [sources === 'random' ? randomAddress($) : $.randomU32().mod(sources).add(first).toNetwork().raw()];
}

/** Bytes that the frame handed to the kernel has more than the one that is sent. */
export const SPARE = 4;

/** Frames that may leave at once, and how much faster than its rate the generator makes up for a pause: a third. */
const BURST = 32;
const HASTE = 4 / 3;

/**
 * Sends at most `rate` frames a second until the deadline in the map. It does not burst after a pause: the ring between two veth interfaces has 256
 * slots, and frames that overflow it do not test the receiver.
 */
export function floodProgram(template: Buffer, sources: FloodSources, rate: number): ProgramSpec {
  const family = template.readUInt16BE(Eth.offsets.proto) === ETH_P.IP ? 4 : 6;
  const Network = family === 4 ? Ipv4 : Ipv6;
  const ipSum = swapSum(sumWords(template.subarray(Eth.size, Eth.size + Ipv4.size)));
  const destination = template.subarray(Eth.size + Network.offsets.daddr, Eth.size + Network.size);
  const segment = template.subarray(Eth.size + Network.size);
  const nobody = new Uint8Array(family === 4 ? 4 : 16);
  const tcpSum = swapSum(sumWords(segment, pseudoHeaderSum(nobody, destination, IPPROTO.TCP, segment.length)));
  // Nanoseconds from one to the next, in units of 1/1024.
  const interval = Math.max(1, Math.round(1024e9 / rate));
  const spacing = Math.max(1, Math.round(interval / HASTE));
  const words = Math.floor(template.length / 4);
  const Whole = struct('flood_frame', { words: array(u32, words), rest: bytes(template.length % 4) });
  const Source = struct('flood_source', { before: bytes(Network.offsets.saddr), words: array(u32, nobody.length / 4) });

  return xdp('flood', ($, packet) => {
    const state = $.at(floodState, 0);
    const now = $.ktimeGetNs();
    $.if(now.ge(state.deadline), () => XDP.DROP);
    const elapsed = now.sub(state.start).shl(10);
    const sent = state.sent;
    $.if(sent.mul(interval).gt(elapsed), () => XDP.DROP);
    const next = $.let(state.next);
    $.if(next.gt(elapsed.add(BURST * spacing)), () => XDP.DROP);
    $.if(next.lt(elapsed), () => {
      next.set(elapsed);
    });
    state.set({ sent: sent.add(1), next: next.add(spacing) });
    // The kernel takes over a frame's length only where the program changed it, and a frame that comes back may have been cut.
    packet.adjustTail(-SPARE).orExit(XDP.ABORTED);
    // Everything is written, because a returned frame was changed on its way.
    const whole = packet.peek(Whole).orExit(XDP.ABORTED);
    for (let index = 0; index < words; index++) whole.words.ref(index).set(template.readUInt32LE(index * 4));
    whole.set({ rest: template.subarray(words * 4) });
    packet.take(Eth).orExit(XDP.ABORTED);
    const source = sourceAddress($, sources, family);
    const place = packet.peek(Source).orExit(XDP.ABORTED);
    source.forEach((word, index) => {
      place.words.ref(index).set(word);
    });
    const address = source.map(halves).reduce((sum, half) => sum.add(half));
    if (family === 4) {
      const ip = packet.peek(Ipv4).orExit(XDP.ABORTED);
      ip.ref('checksum').setRaw(foldSum(address.add(ipSum)).not());
    }
    packet.skip(Network.size, { max: Network.size }).orExit(XDP.ABORTED);
    const tcp = packet.take(Tcp).orExit(XDP.ABORTED);
    const seq = $.randomU32();
    const port = $.randomU32().u16().or(0x0400);
    tcp.ref('source').setRaw(port);
    tcp.ref('seq').setRaw(seq);
    tcp.ref('checksum').setRaw(foldSum(address.add(halves(seq)).add(port.u32()).add(tcpSum)).not());
    return XDP.TX;
  });
}

/**
 * Runs on the client's interface as long as the lab stands. It passes the lab's own traffic and drops the server's answers to forged addresses. A
 * veth interface delivers frames that its peer sends by XDP_TX only while it has a program itself.
 */
export const clientSide: ProgramSpec = xdp('lab_client', ($, packet) => {
  const eth = packet.take(Eth).orExit(XDP.PASS);
  $.if(eth.proto.eq(ETH_P.IP), () => {
    const ip = packet.take(Ipv4).orExit(XDP.PASS);
    return $.if(
      ip.daddr.and(0xffffff00).eq(ipv4Number('10.0.0.0')),
      () => XDP.PASS,
      () => XDP.DROP,
    );
  });
  $.if(eth.proto.ne(ETH_P.IPV6), () => XDP.PASS);
  const ip = packet.take(Ipv6).orExit(XDP.PASS);
  const prefix = Buffer.from(addressBytes('fd00::')).readBigUInt64LE();
  return $.if(
    ip.daddr
      .part(0)
      .eq(prefix)
      .or(ip.daddr.part(0).and(0xff).oneOf([0xfe, 0xff])),
    () => XDP.PASS,
    () => XDP.DROP,
  );
});

/** Passes everything; on the receiving side in place of a protection, so that both cases take the same way into the kernel. */
export const passThrough: ProgramSpec = xdp('pass_through', () => XDP.PASS);
