/** Turns a SYN into its answer, in place: a fresh IP header without options or extensions, and a SYN-ACK behind it. */
import {
  be16,
  type Int,
  struct,
  u32,
  u64,
  type XdpAction,
  type XdpBuilder,
  type XdpPacket,
} from '../../ebpf/language.ts';
import { foldWideSum } from '../../net/checksum.ts';
import { Eth, Ipv4, Ipv6, Tcp, TCP_FLAG } from '../../net/headers.ts';
import { FAMILY_TYPE } from '../frame/link.ts';
import { portsWord, type Segment } from '../frame/parse.ts';
import { Present } from '../frame/syn-options.ts';

/** What the answer says beside addresses and ports. Numbers are in host order. */
export interface Answer {
  readonly seq: Int<32>;
  readonly ack: Int<32>;
  readonly window: Int<32>;
  readonly ecn: Int<32>;
  /** `none` has no options, `mss` that one, `offer` those that the client offered. */
  readonly options: 'none' | 'mss' | 'offer';
  readonly mss: number;
  /** Bits of `Present` of the options in use. */
  readonly present: Int<32>;
  readonly tsval: Int<32>;
  /** The client's timestamp as it lies in memory. */
  readonly tsecr: Int<32>;
  /** What we scale our own window by where the client scales. */
  readonly windowScale: Int<32>;
}

const TcpWords = struct('tcp_words', { ports: u32, seq: u32, ack: u32, flags: u32, checksum: u32 });
const Ipv4Words = struct('ipv4_words', { length: u32, fragment: u32, checksum: u32, saddr: u32, daddr: u32 });
const Ipv6Words = struct('ipv6_words', {
  version: u32,
  length: u32,
  saddr0: u64,
  saddr1: u64,
  daddr0: u64,
  daddr1: u64,
});
const Word = struct('option_word', { value: u32 });

/**
 * Option bytes: MSS alone; with window scale or SACK; with both; with timestamps; with timestamps and window scale. An answer
 * to a SYN with an MSS is no longer than the SYN: drivers do not promise room behind a frame, and veth has none where it ends with a cache line.
 */
const Bytes = { MSS: 4, ONE: 8, BOTH: 12, STAMPED: 16, FULL: 20 } as const;
const TTL = 64;
const TCP_PROTOCOL = 6;
/** Ethernet's smallest frame without its checksum: what came padded to it goes out no shorter. */
const SMALLEST_FRAME = 60;

/** A 32-bit number as its bytes lie in memory, read as a little-endian word. */
const memoryWord = (...octets: readonly [number, number, number, number]): number => Buffer.from(octets).readUInt32LE();

/** A 16-bit number in the order of the network, in the low half of a word. */
const network16 = (value: Int<32>): Int<32> => value.u16().toNetwork().raw().u32();

class Sum {
  #total: Int<64>;

  constructor($: XdpBuilder) {
    this.#total = $.u64(0);
  }

  add(...words: readonly Int<32>[]): void {
    for (const word of words) this.#total = this.#total.add(word.u64());
  }

  addSum(sum: Int<64>): void {
    this.#total = this.#total.add(sum);
  }

  /** The checksum of all words, as it lies in memory. */
  checksum(): Int<16> {
    return foldWideSum(this.#total).not();
  }
}

const EtherType = struct('ether_type', { proto: be16 });

/**
 * Without an Ethernet header the kernel takes the bytes in its place for one: when the addresses there change, it assumes that the type changed too,
 * and reads it again from the two bytes in front of the packet (`bpf_prog_run_generic_xdp`, net/core/dev.c). Tunnels send only IP.
 */
function nameProtocol(packet: XdpPacket, family: 4 | 6, fail: () => XdpAction): void {
  packet.adjustHead(-EtherType.size).orExit(fail);
  packet.peek(EtherType).orExit(fail).set({ proto: FAMILY_TYPE[family] });
  packet.adjustHead(EtherType.size).orExit(fail);
}

/** Rewrites the frame. `fail` ends the path where the frame cannot be given its new length. */
export function writeAnswer(
  $: XdpBuilder,
  packet: XdpPacket,
  segment: Segment,
  answer: Answer,
  fail: () => XdpAction,
): void {
  const { family, source, destination, tcp, link } = segment;
  // Everything that is needed of the question, before it is written over.
  const offset = $.let(segment.offset);
  const [client, server] = [source.kept($), destination.kept($)];
  const ports = $.let(portsWord({ source: tcp.dest, dest: tcp.source }));
  const present = $.let(answer.present);
  const [seq, ack, tsval, tsecr, ecn, window, ourScale] = [
    answer.seq,
    answer.ack,
    answer.tsval,
    answer.tsecr,
    answer.ecn,
    answer.window,
    answer.windowScale,
  ].map((value) => $.let(value)) as unknown as [Int<32>, Int<32>, Int<32>, Int<32>, Int<32>, Int<32>, Int<32>];

  const optionBytes = $.let($.u32(answer.options === 'none' ? 0 : Bytes.MSS));
  if (answer.options === 'offer') {
    const word = (bit: number): Int<32> => $.select(present.hasAny(bit), $.u32(4), $.u32(0));
    const scaleBytes = word(Present.WINDOW_SCALE);
    $.if(
      present.hasAny(Present.TIMESTAMPS),
      () => {
        optionBytes.set(scaleBytes.add(Bytes.STAMPED));
      },
      () => {
        optionBytes.set(scaleBytes.add(word(Present.SACK)).add(Bytes.MSS));
      },
    );
  }
  const ipBytes = family === 4 ? Ipv4.size : Ipv6.size;
  const segmentBytes = $.let(optionBytes.add(Tcp.size));
  packet.restart();
  const before = $.let(packet.remaining().u32());
  const after = $.let(offset.add(segmentBytes).add(ipBytes));
  if (link === 'ethernet')
    $.if(after.lt(SMALLEST_FRAME).and(before.ge(SMALLEST_FRAME)), () => {
      after.set(SMALLEST_FRAME);
    });
  packet.adjustTail(after.sub(before)).orExit(fail);

  if (link === 'ethernet') {
    const eth = packet.peek(Eth).orExit(fail);
    const mac = eth.dst;
    eth.set({ dst: eth.src, src: mac });
  } else nameProtocol(packet, family, fail);
  packet.skip(offset.and(63), { max: 63 }).orExit(fail);
  const length = network16(segmentBytes);
  const sum = new Sum($);
  sum.add(length, $.u32(TCP_PROTOCOL << 8));
  if (family === 4) {
    const ip = packet.take(Ipv4Words).orExit(fail);
    const total = network16(segmentBytes.add(Ipv4.size)).shl(16).or(0x45);
    const [saddr, daddr] = [server.ipv4(), client.ipv4()];
    const fragment = memoryWord(0, 0, 0x40, 0); // DF, and therefore no id (RFC 6864)
    const ttl = memoryWord(TTL, TCP_PROTOCOL, 0, 0);
    const header = new Sum($);
    header.add(total, $.u32(fragment), $.u32(ttl), saddr, daddr);
    ip.set({ length: total, fragment, checksum: header.checksum().u32().shl(16).or(ttl), saddr, daddr });
    sum.add(saddr, daddr);
  } else {
    const ip = packet.take(Ipv6Words).orExit(fail);
    const rest = memoryWord(0, 0, TCP_PROTOCOL, TTL);
    ip.set({ version: memoryWord(0x60, 0, 0, 0), length: length.or(rest) });
    const [[saddr0, saddr1], [daddr0, daddr1]] = [server.pair($), client.pair($)];
    ip.set({ saddr0, saddr1, daddr0, daddr1 });
    for (const word of [...server.words(), ...client.words()]) sum.add(word.u32(), word.shr(32).u32());
  }

  const head = packet.take(TcpWords).orExit(fail);
  const flags = ecn.shl(6).or(TCP_FLAG.SYN | TCP_FLAG.ACK);
  const dataOffset = segmentBytes.shl(2);
  const flagWord = dataOffset.or(flags.shl(8)).or(network16(window).shl(16));
  const [seqWord, ackWord] = [seq.toNetwork().raw(), ack.toNetwork().raw()];
  sum.add(ports, seqWord, ackWord, flagWord);
  const optionsSum = $.let($.u64(0));
  const write = (...words: readonly Int<32>[]): void => {
    for (const value of words) {
      const word = packet.take(Word).orExit(fail);
      word.set({ value });
      optionsSum.set(optionsSum.add(value.u64()));
    }
  };
  const mss = $.u32(memoryWord(2, 4, answer.mss >> 8, answer.mss & 0xff));
  const either = (mask: number, yes: number, no: number): Int<32> =>
    $.select(present.hasAny(mask), $.u32(yes), $.u32(no));
  const scale = ourScale.shl(24).or(memoryWord(1, 3, 3, 0));
  const sackAlone = $.u32(memoryWord(1, 1, 4, 2));
  if (answer.options === 'mss') write(mss);
  if (answer.options === 'offer') {
    $.if(
      optionBytes.ge(Bytes.STAMPED),
      () => {
        const sack = either(Present.SACK, memoryWord(4, 2, 8, 10), memoryWord(1, 1, 8, 10));
        write(mss, sack, tsval.toNetwork().raw(), tsecr);
        $.if(optionBytes.eq(Bytes.FULL), () => {
          write(scale);
        });
      },
      () => {
        write(mss);
        $.if(
          optionBytes.eq(Bytes.BOTH),
          () => {
            write(sackAlone, scale);
          },
          () => {
            $.if(optionBytes.eq(Bytes.ONE), () => {
              write($.select(present.hasAny(Present.SACK), sackAlone, scale));
            });
          },
        );
      },
    );
  }
  sum.addSum(optionsSum);
  head.set({ ports, seq: seqWord, ack: ackWord, flags: flagWord, checksum: sum.checksum().u32() });
}
