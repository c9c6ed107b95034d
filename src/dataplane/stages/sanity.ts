/** Checks of a SYN for properties that no real client's has; `policy/sanity.ts` says what each is. */
import type { Builder, Condition, Int } from '../../ebpf/language.ts';
import { TCP_FLAG } from '../../net/headers.ts';
import { isWholeSum } from '../../net/checksum.ts';
import { type SanityCheck, sanityChecks } from '../../policy/sanity.ts';
import { handOver } from '../context.ts';
import type { Segment } from '../frame/parse.ts';
import { parseSynOptions, Present, type SynOptions } from '../frame/syn-options.ts';
import type { ReasonDefinition } from '../outcome/verdict.ts';
import { stage } from '../stage.ts';
import { parse } from './parse.ts';

/** What the options of the SYN say. */
export const Options = handOver<SynOptions>('the options of the SYN');

const NUMBERS: Record<SanityCheck, number> = {
  'syn-fin': 19,
  'syn-rst': 20,
  'syn-urg': 21,
  'syn-payload': 22,
  'syn-ack-number': 23,
  'syn-fragment': 24,
  'null-port': 25,
  land: 26,
  'bad-source': 27,
  'bad-options': 28,
  'ip-checksum': 29,
  hping: 30,
  masscan: 31,
  zmap: 32,
  mirai: 33,
};
const definitions = Object.fromEntries(
  (Object.keys(NUMBERS) as SanityCheck[]).map((name) => [
    name,
    { number: NUMBERS[name], verdict: 'drop', description: sanityChecks[name] },
  ]),
) as Record<SanityCheck, ReasonDefinition>;

type Build = <R>($: Builder<R>, segment: Segment, options: SynOptions) => Condition | undefined;

/** Flags that a SYN has no business with. */
const FLAGS = { 'syn-fin': TCP_FLAG.FIN, 'syn-rst': TCP_FLAG.RST, 'syn-urg': TCP_FLAG.URG };
/** Numbers that are zero in what real clients send. */
const ZEROS = {
  'syn-ack-number': ({ tcp }: Segment) => tcp.ack.raw(),
  'syn-fragment': ({ fragmented }: Segment) => fragmented,
  'bad-options': (_segment: Segment, { sound }: SynOptions) => sound.xor(1),
};
/** The windows that tools are known by. */
const WINDOWS = { hping: 512, masscan: 1024, zmap: 65_535 };

const hasFlag =
  (name: keyof typeof FLAGS): Build =>
  (_$, { tcp }) =>
    tcp.flags.hasAny(FLAGS[name]);
const isNotZero =
  (name: keyof typeof ZEROS): Build =>
  (_$, segment, options) =>
    ZEROS[name](segment, options).ne(0);

/** The second half of ::1 in memory order. */
const LOOPBACK_LOW = 0x0100_0000_0000_0000n;
/** The upper four bytes of the second half of ::ffff:0:0/96. */
const MAPPED_LOW = 0xffff_0000n;

const badSource: Build = ($, { family, source }) => {
  if (family === 4) {
    const byte = source.firstByte();
    return byte.eq(0).or(byte.eq(127)).or(byte.ge(224));
  }
  // ff00::/8, ::, ::1 and ::ffff:0:0/96, which never goes over a wire.
  const [first, second] = source.pair($);
  const low = second.eq(0).or(second.eq(LOOPBACK_LOW)).or(second.u32().u64().eq(MAPPED_LOW));
  return source.firstByte().eq(0xff).or(first.eq(0).and(low));
};

const CHECKS: Record<SanityCheck, Build> = {
  'syn-fin': hasFlag('syn-fin'),
  'syn-rst': hasFlag('syn-rst'),
  'syn-urg': hasFlag('syn-urg'),
  'syn-payload': (_$, { length }, options) => length.gt(options.length.add(20)),
  'syn-ack-number': isNotZero('syn-ack-number'),
  'syn-fragment': isNotZero('syn-fragment'),
  'null-port': (_$, { tcp }) => tcp.source.eq(0).or(tcp.dest.eq(0)),
  land: (_$, { source, destination }) => source.eq(destination),
  'bad-source': badSource,
  'bad-options': isNotZero('bad-options'),
  'ip-checksum': (_$, { ipv4 }) => ipv4 && isWholeSum(ipv4.sum()).not(),
  hping: (_$, { tcp }, { length }) => tcp.window.eq(WINDOWS.hping).and(length.eq(0)),
  masscan: (_$, { tcp, destination, ipv4 }) => {
    if (!ipv4) return undefined;
    const address = destination.ipv4();
    // The low half of a number in network order is the upper half of the register.
    const folded = address.xor(tcp.seq.raw()).shr(16).xor(tcp.dest.raw().u32());
    return tcp.window.eq(WINDOWS.masscan).and(ipv4.header.id.raw().u32().eq(folded));
  },
  zmap: (_$, { tcp, ipv4 }, { present }) => {
    if (!ipv4) return undefined;
    return ipv4.header.id
      .eq(54_321)
      .and(tcp.window.eq(WINDOWS.zmap))
      .and(present.hasAny(Present.WINDOW_SCALE | Present.SACK | Present.TIMESTAMPS).not());
  },
  mirai: (_$, { tcp, destination, ipv4 }) => (ipv4 ? tcp.seq.raw().eq(destination.ipv4()) : undefined),
};

/** Not 0 where some check may find something; asking this costs less than asking them one by one. */
function suspicion<R>($: Builder<R>, names: readonly SanityCheck[], segment: Segment, options: SynOptions): Int<32> {
  const { flags, window } = segment.tcp;
  const pick = <T>(from: Partial<Record<SanityCheck, T>>): T[] => names.flatMap((name) => from[name] ?? []);
  const mask = pick(FLAGS).reduce((all, bit) => all | bit, 0);
  const suspicious = $.let(flags.and(mask).u32());
  for (const number of pick(ZEROS)) suspicious.set(suspicious.or(number(segment, options)));
  const suspectIf = (condition: Condition): void => {
    $.if(condition, () => {
      suspicious.set($.u32(1).forget());
    });
  };
  suspectIf(window.oneOf(pick(WINDOWS)));
  const grouped = new Set(Object.keys({ ...FLAGS, ...ZEROS, ...WINDOWS }));
  for (const name of names.filter((one) => !grouped.has(one))) {
    const condition = CHECKS[name]($, segment, options);
    if (condition) suspectIf(condition);
  }
  return suspicious;
}

/** The reason to drop this SYN, or 0: of several, the one that comes first in the list. */
function sanityReason<R>(
  $: Builder<R>,
  checks: ReadonlySet<SanityCheck>,
  segment: Segment,
  options: SynOptions,
): Int<32> {
  const reason = $.let($.u32(0));
  const names = (Object.keys(CHECKS) as SanityCheck[]).filter((name) => checks.has(name));
  $.if(suspicion($, names, segment, options).ne(0), () => {
    for (const name of names.toReversed()) {
      const condition = CHECKS[name]($, segment, options);
      if (!condition) continue;
      $.if(condition, () => {
        reason.set($.u32(NUMBERS[name]).forget());
      });
    }
  });
  return reason;
}

export const sanity = stage({
  name: 'sanity',
  decides:
    'Sanity checks: a SYN that no real client sends is dropped. Options that reach over the end of the segment, too.',
  reasons: definitions,
  maps: [],
  reads: ['sanity'],
  build($, segment, context) {
    const options = parseSynOptions($, context.packet, segment, (name) => context.leave(parse.reasons[name]));
    context.give(Options, options);
    const reason = sanityReason($, context.policy.sanity, segment, options);
    $.if(reason.ne(0), () => context.drop(reason));
  },
  explain: ({ frame: { tcp, payloadLength } }) =>
    tcp
      ? `window ${String(tcp.window)}, seq ${String(tcp.seq)}, ack ${String(tcp.ack)}, options ${tcp.options.map(({ kind }) => kind).join(' ') || 'none'}, payload ${String(payloadLength)}`
      : '',
});
