/**
 * Reads a frame down to TCP. Other protocols leave here and pass. Packets with inconsistent lengths are dropped: a difference in
 * parsing would bypass later stages.
 */
import {
  array,
  type Builder,
  type BytesValue,
  type Int,
  type Packet,
  struct,
  u32,
  type View,
} from '../../ebpf/language.ts';
import { IP_FRAGMENT, IPPROTO, Ipv4, Ipv6, Ipv6Extension, Ipv6Fragment, Tcp } from '../../net/headers.ts';
import type { Policy } from '../../policy/policy.ts';
import { Address } from './address.ts';
import type { LeaveWith } from './leave.ts';
import type { Link, LinkKind } from './link.ts';

export interface Segment {
  readonly link: LinkKind;
  readonly family: 4 | 6;
  /** Where the IP header begins in the frame. */
  readonly offset: Int<32>;
  readonly source: Address;
  readonly destination: Address;
  readonly tcp: View<(typeof Tcp)['fields']>;
  /** Bytes of the segment, header and payload, by the length that IP gives. */
  readonly length: Int<32>;
  /** 1 for a first fragment. */
  readonly fragmented: Int<32>;
  /** IPv4 only: the header, and the sum of its 16-bit words as they lie in memory, not folded. */
  readonly ipv4?: { readonly header: View<(typeof Ipv4)['fields']>; readonly sum: () => Int<64> };
  /** IPv6 only: the header. */
  readonly ipv6?: View<(typeof Ipv6)['fields']>;
}

/** Both ports in one word, the source's first, as they lie in memory. */
export function portsWord({ source, dest }: Pick<Segment['tcp'], 'source' | 'dest'>): Int<32> {
  return source.raw().u32().or(dest.raw().u32().shl(16));
}

/** RFC 8200 recommends each header at most once, destination options twice: seven, and one to spare. */
const MAX_EXTENSIONS = 8;

/** How strictly a packet is read. The stack's own buffers may lie in pieces, and it checks lengths itself. */
export interface ParseRules {
  readonly fragments: Policy['fragments'];
  readonly lengths: 'check' | 'trust';
}

type ParseIp = <R>($: Builder<R>, packet: Packet<R>, link: Link, leave: LeaveWith<R>, rules: ParseRules) => Segment;

export function parseSegment<R>(
  $: Builder<R>,
  packet: Packet<R>,
  family: 4 | 6,
  link: Link,
  leave: LeaveWith<R>,
  rules: ParseRules,
): Segment {
  return (family === 4 ? parseIpv4 : parseIpv6)($, packet, link, leave, rules);
}

const Ipv4Words = struct('ipv4_words', { words: array(u32, 5) });
const Word = struct('word', { value: u32 });
const MAX_OPTION_WORDS = 10;

const parseIpv4: ParseIp = ($, packet, { kind: link, offset }, leave, rules) => {
  const { fragments } = rules;
  const words = packet.peek(Ipv4Words).orExit(() => leave('truncated'));
  const frameBytes = packet.remaining();
  const ip = packet.peek(Ipv4).orExit(() => leave('truncated'));
  const optionsSum = $.let($.u64(0));
  const headerBytes = $.let($.u32(Ipv4.size));
  const fragmented = $.let($.u32(0).forget());
  const first = ip.versionIhl;
  $.if(first.ne(0x45), () => {
    $.if(first.lt(0x46).or(first.gt(0x4f)), () => leave('bad-ip-header'));
    const left = $.let(first.and(0x0f).sub(5).u32());
    headerBytes.set(left.shl(2).add(Ipv4.size));
    packet.ahead(() => {
      packet.skip($.u32(Ipv4.size).forget().and(63), { max: 63 }).orExit(() => leave('truncated'));
      $.loop(MAX_OPTION_WORDS, (_round, loop) => {
        loop.breakIf(left.eq(0));
        const word = packet.take(Word).orExit(() => leave('truncated'));
        optionsSum.set(optionsSum.add(word.value.u64()));
        left.set(left.sub(1));
      });
    });
  });
  headerBytes.set(headerBytes.forget());
  packet.skip(headerBytes.and(63), { max: 63 }).orExit(() => leave('truncated'));
  $.if(ip.protocol.ne(IPPROTO.TCP), () => leave('not-tcp'));
  $.if(ip.fragment.hasAny(IP_FRAGMENT.OFFSET | IP_FRAGMENT.MORE), () => {
    const place = ip.fragment.and(IP_FRAGMENT.OFFSET);
    $.if(place.eq(1), () => leave('tiny-fragment'));
    $.if(place.ne(0), () => leave(fragments.later === 'pass' ? 'later-fragment' : 'fragment'));
    if (fragments.first === 'drop') return leave('fragment');
    fragmented.set($.u32(1).forget());
    return undefined;
  });
  const total = ip.totalLength.host().u32().and(0xffff);
  if (rules.lengths === 'check') $.if(total.u64().gt(frameBytes), () => leave('bad-length'));
  const needed = headerBytes.add(Tcp.size);
  $.if(total.lt(needed), () => leave('bad-length'));
  const tcp = packet.take(Tcp).orExit(() => leave('truncated'));
  return {
    link,
    family: 4,
    offset,
    source: new Address(4, () => [ip.saddr.raw().u64()]),
    destination: new Address(4, () => [ip.daddr.raw().u64()]),
    tcp,
    length: total.sub(headerBytes),
    fragmented,
    ipv4: {
      header: ip,
      sum: () =>
        Array.from({ length: 5 }, (_, index) => words.words.at(index).u64()).reduce(
          (sum, word) => sum.add(word),
          optionsSum as Int<64>,
        ),
    },
  };
};

/** Eight extension headers have at most 16,384 bytes. */
const CHAIN_MASK = 0x7fff;
const CHAINED = [IPPROTO.HOPOPTS, IPPROTO.ROUTING, IPPROTO.DSTOPTS, IPPROTO.FRAGMENT, IPPROTO.AH];

function addressWords(bytes: BytesValue): readonly Int<64>[] {
  return [bytes.part(0) as Int<64>, bytes.part(8) as Int<64>];
}

const parseIpv6: ParseIp = ($, packet, { kind: link, offset }, leave, rules) => {
  const { fragments } = rules;
  const ip = packet.take(Ipv6).orExit(() => leave('truncated'));
  const frameBytes = packet.remaining();
  $.if(ip.versionClassFlow.and(0xf0000000).ne(0x60000000), () => leave('bad-ip-header'));
  const payload = ip.payloadLength.host().u32().and(0xffff);
  const next = $.let(ip.nextHeader);
  const zero = (): Int<32> => $.u32(0).forget();
  const chain = $.let(zero());
  const fragmented = $.let(zero());
  $.if(next.ne(IPPROTO.TCP), () => {
    $.loop(MAX_EXTENSIONS, (_round, loop) => {
      loop.breakIf(next.oneOf(CHAINED).not());
      packet.ahead(() => {
        packet.skip(chain.and(CHAIN_MASK), { max: CHAIN_MASK }).orExit(() => leave('truncated'));
        const header = packet.peek(Ipv6Extension).orExit(() => leave('truncated'));
        const size = $.let(header.length.u32().add(1).shl(3));
        $.if(next.eq(IPPROTO.AH), () => {
          size.set(header.length.u32().add(2).shl(2)); // RFC 4302: in words of four bytes, minus two
        });
        $.if(next.eq(IPPROTO.FRAGMENT), () => {
          const fragment = packet.peek(Ipv6Fragment).orExit(() => leave('truncated'));
          size.set(Ipv6Fragment.size);
          const place = fragment.offset.host().u32().and(0xfff8);
          $.if(place.eq(8).and(fragment.nextHeader.eq(IPPROTO.TCP)), () => leave('tiny-fragment'));
          $.if(place.ne(0), () => {
            $.if(chain.add(Ipv6Fragment.size).gt(payload), () => leave('bad-length'));
            // Only what carries TCP is ours to drop.
            if (fragments.later === 'drop') $.if(fragment.nextHeader.eq(IPPROTO.TCP), () => leave('fragment'));
            return leave('later-fragment');
          });
          $.if(fragment.offset.hasAny(1), () => {
            if (fragments.first === 'drop') $.if(fragment.nextHeader.eq(IPPROTO.TCP), () => leave('fragment'));
            fragmented.set(zero().add(1));
          });
        });
        next.set(header.nextHeader);
        chain.set(chain.add(size).xor(zero()));
      });
    });
    $.if(next.oneOf(CHAINED), () => leave('ipv6-chain'));
    // The stack cuts off what lies behind the payload, and takes the rest of a chain from a later fragment. A chain that is not whole in the
    // first one is not read at all (RFC 7112).
    $.if(chain.gt(payload), () => leave('bad-length'));
    $.if(next.ne(IPPROTO.TCP), () => leave('not-tcp'));
  });
  packet.skip(chain.and(CHAIN_MASK), { max: CHAIN_MASK }).orExit(() => leave('truncated'));
  if (rules.lengths === 'check') $.if(payload.u64().gt(frameBytes), () => leave('bad-length'));
  const needed = chain.add(Tcp.size);
  $.if(payload.lt(needed), () => leave('bad-length'));
  const tcp = packet.take(Tcp).orExit(() => leave('truncated'));
  return {
    link,
    family: 6,
    offset,
    source: new Address(6, () => addressWords(ip.saddr)),
    destination: new Address(6, () => addressWords(ip.daddr)),
    tcp,
    length: payload.sub(chain),
    fragmented,
    ipv6: ip,
  };
};
