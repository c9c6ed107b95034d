/** Challenges: a SYN is answered in place of the server, in a way that only a real client takes further. */
import {
  type Builder,
  type Condition,
  type EnumMember,
  enumOf,
  type EnumValue,
  type Int,
  type IntVariable,
  type Socket,
  type SocketPointer,
  struct,
  u32,
  u64,
  type XdpAction,
  type XdpBuilder,
  type XdpPacket,
  type XdpVerdict,
} from '../../ebpf/language.ts';
import { Ipv4, Ipv6, Tcp, TCP_FLAG } from '../../net/headers.ts';
import type { Policy } from '../../policy/policy.ts';
import type { ActivityMaps } from '../state/activity.ts';
import { type HostMaps, isForUs, isUnicast } from '../state/host.ts';
import type { KeyMaps } from '../state/hash.ts';
import { Listener, type ListenerMaps, listening, plainListener, windowOf, windowScaleOf } from '../state/listener.ts';
import { writeAnswer } from './answer.ts';
import { type Challenger, FORM_WORDS, type Form, formsIn, type Stack, wordsFor } from './challenger.ts';
import {
  checkCookie,
  COOKIE_LIFE,
  cookieFor,
  DEFAULT_MSS,
  fitOffer,
  kernelTimestamp,
  type Offer,
  resetCookie,
  slotOf,
} from './cookie.ts';
import type { LeaveWith } from '../frame/leave.ts';
import { portsWord, type Segment } from '../frame/parse.ts';
import { parseSynOptions, Present, type SynOptions } from '../frame/syn-options.ts';

/** How much later than now the mark of challenges is set, so that it is written once in a while and not per packet. */
const MARK_STEP = 1_000_000_000n;

/** Records that a challenge was sent, so that proofs are checked. */
function markActivity($: XdpBuilder, maps: ActivityMaps, now: Int<64>): void {
  const activity = $.at(maps.activity, 0);
  $.if(activity.challengedUntil.lt(now.add(COOKIE_LIFE)), () => {
    activity.set({ challengedUntil: now.add(COOKIE_LIFE + MARK_STEP) });
  });
}

/** A TCP header with an MSS option alone, as the kernel's cookie functions want to see it. */
const SynHeader = struct('syn_header', { ports: u32, seq: u32, ack: u32, flags: u32, checksum: u32, mss: u32 });
const Ipv4Copy = struct('ipv4_copy', { length: u32, fragment: u32, ttl: u32, saddr: u32, daddr: u32 });
const Ipv6Copy = struct('ipv6_copy', { version: u32, length: u32, saddr0: u64, saddr1: u64, daddr0: u64, daddr1: u64 });

/** A copy of what the kernel's cookie functions read of the IP header: its version and addresses. */
function ipCopy<R>($: Builder<R>, { family, source, destination }: Segment) {
  const ip = family === 4 ? $.stack(Ipv4Copy) : $.stack(Ipv6Copy);
  if (family === 4) ip.set({ length: 0x45, saddr: source.ipv4(), daddr: destination.ipv4() });
  else {
    const [[saddr0, saddr1], [daddr0, daddr1]] = [source.pair($), destination.pair($)];
    ip.set({ version: 0x60, saddr0, saddr1, daddr0, daddr1 });
  }
  return ip;
}

/** Copies of what they read of a SYN: addresses, ports, sequence number and MSS. */
function headerCopies<R>($: Builder<R>, segment: Segment, mss: Int<32>) {
  const { tcp } = segment;
  const header = $.stack(SynHeader);
  const big = mss.u16().toNetwork().raw().u32();
  header.set({
    ports: portsWord(tcp),
    seq: tcp.seq.raw(),
    flags: ((SynHeader.size / 4) << 4) | (TCP_FLAG.SYN << 8),
    mss: big.shl(16).or(0x0402),
  });
  return { ip: ipCopy($, segment), header };
}

const How = enumOf('how', { NOT: 0, ASSIGN: 1, KERNEL: 2, RESET: 3 });
const HOW_MASK = 15;
const HOW: Record<Form, EnumMember<'how'>> = { assign: How.ASSIGN, kernel: How.KERNEL, reset: How.RESET };

/**
 * How a SYN of a service can be answered, and with which window; 0 if it cannot. A cookie is sent only for a port with a listener, which a router
 * cannot know.
 */
export function howToAnswer(
  $: XdpBuilder,
  packet: XdpPacket,
  maps: ListenerMaps & HostMaps & KeyMaps,
  segment: Segment,
  { policy, challenger }: { readonly policy: Pick<Policy, 'services'>; readonly challenger: Challenger },
  { word, options }: { readonly word: EnumValue<'form_word'>; readonly options: SynOptions },
  now: Int<64>,
): Int<32> {
  const forms = formsIn(policy, challenger);
  const says = (...wanted: readonly (Form | undefined)[]): Condition =>
    word.oneOf(wordsFor(policy, challenger, wanted).map((one) => FORM_WORDS[one]));
  const mixed = forms.length > 1 || wordsFor(policy, challenger, [undefined]).length > 0;
  const { stack } = challenger;
  const plain = plainListener(stack) & ~HOW_MASK;
  const reset = plain | How.RESET.number;
  return $.inline(32, (out) => {
    if (challenger.knowsHost === true) {
      if (segment.link === 'ethernet') out.if(isForUs($, packet, maps).eq(0), () => How.NOT.number);
      if (forms.includes('reset')) out.if(isUnicast(segment.destination).not(), () => How.NOT.number);
    }
    if (mixed) {
      if (forms.includes('reset')) out.if(says('reset'), () => reset);
      out.if(says(undefined), () => How.NOT.number);
    } else if (forms[0] === 'reset') return reset;
    let found = $.u32(plain);
    if (challenger.assumeListening !== true) {
      const mark = (socket: Socket<XdpVerdict>): void => {
        // The kernel takes its own cookies only from a listener that lately had to send one; this is what marks it.
        const { ip, header } = headerCopies($, segment, $.u32(DEFAULT_MSS[segment.family]));
        const size = segment.family === 4 ? Ipv4.size : Ipv6.size;
        $.call('tcp_gen_syncookie', socket, ip, size, header, SynHeader.size);
      };
      found = listening($, packet, maps, segment, challenger, now, forms.includes('kernel') ? mark : undefined);
      out.if(found.eq(0), () => How.NOT.number);
      if (stack.listener) {
        // Who signs takes no answer that is not signed, which only the host can do; what is signed wrongly costs it a look-up.
        const signed = found.hasAny(Listener.SIGNS).and(options.present.hasAny(Present.SIGNED));
        out.if(signed, () => How.NOT.number);
        const multipath = (): Condition => found.hasAny(Listener.MPTCP);
        const substituted = challenger.resetsOthers === true ? ['cookie'] : [];
        if (substituted.length > 0) out.if(multipath().and(word.eq(FORM_WORDS.cookie)), () => reset);
        // Asked for by name, `assign` has no substitute.
        if (wordsFor(policy, challenger, ['assign']).some((one) => !substituted.includes(one)))
          out.if(multipath().and(says('assign')), () => How.NOT.number);
      }
    }
    const cookie =
      forms.includes('assign') && forms.includes('kernel')
        ? $.select(says('assign'), $.u32(HOW.assign.number), $.u32(HOW.kernel.number))
        : $.u32(HOW[forms.includes('assign') ? 'assign' : 'kernel'].number);
    return found.and(~HOW_MASK >>> 0).or(cookie);
  });
}

/** What an answer says beside what all answers say. */
interface Offered extends Offer {
  readonly present: IntVariable<32>;
  readonly ecn: IntVariable<32>;
}

/** Answers a SYN with a cookie; what follows in the frame is the answer. `plan` is what `howToAnswer` gave. */
export function sendChallenge(
  $: XdpBuilder,
  packet: XdpPacket,
  maps: ActivityMaps & KeyMaps,
  segment: Segment,
  options: SynOptions,
  { policy, challenger }: { readonly policy: Pick<Policy, 'services'>; readonly challenger: Challenger },
  plan: Int<32>,
  now: Int<64>,
  fail: () => XdpAction,
): void {
  const { stack } = challenger;
  const forms = formsIn(policy, challenger);
  const { tcp, family } = segment;
  const isn = $.let(tcp.seq.host());
  markActivity($, maps, now);
  const zero = $.u32(0).forget();
  const base = {
    window: windowOf(plan),
    mss: stack.mtu - (family === 4 ? 40 : 60),
    windowScale: $.let(windowScaleOf(plan)),
  };
  const how = How.of(plan.and(HOW_MASK));
  const [seq, ack, tsval] = [$.let(isn), $.let(isn.add(1)), $.let(zero)];
  const offer = forms.some((form) => form !== 'reset') ? offerOf($, segment, options, stack) : nothing($);
  const build: Record<Form, () => void> = {
    assign: () => {
      fitOffer($, offer.present, offer.windowScale, offer.ecn);
      // Without timestamps the cookie has no room for what windows are scaled by.
      $.if(offer.present.hasAny(Present.TIMESTAMPS).not(), () => {
        base.windowScale.set(stack.windowScale);
      });
      const cookie = cookieFor($, maps, segment, offer, { isn, ours: base.windowScale, host: stack.windowScale }, now);
      seq.set(cookie.isn);
      tsval.set(cookie.tsval);
    },
    kernel: () => {
      const { ip, header } = headerCopies($, segment, offer.mss);
      const made =
        family === 4
          ? $.call('tcp_raw_gen_syncookie_ipv4', ip, header, SynHeader.size)
          : $.call('tcp_raw_gen_syncookie_ipv6', ip, header, SynHeader.size);
      $.if(made.slt(0), fail);
      seq.set(made.u32());
      // Its cookie holds the MSS; the rest has to be in a timestamp, which the host would shift by an offset that only it knows.
      const none = (): void => {
        offer.present.set(0);
        offer.ecn.set(0);
      };
      if (stack.plainTimestamps) {
        $.if(offer.present.hasAny(Present.TIMESTAMPS).not(), none);
        tsval.set(kernelTimestamp($, offer, now));
      } else none();
    },
    reset: () => {
      ack.set(resetCookie($, maps, segment, slotOf(now)));
      offer.present.set(zero);
      offer.ecn.set(zero);
    },
  };
  for (const form of forms) {
    if (forms.length === 1) build[form]();
    else $.if(how.eq(HOW[form]), build[form]);
  }
  const most = Math.max(
    ...forms.map((form) => (form === 'reset' ? 0 : form === 'kernel' && !stack.plainTimestamps ? 1 : 2)),
  );
  const { present, ecn } = offer;
  writeAnswer(
    $,
    packet,
    segment,
    {
      ...base,
      seq,
      ack,
      present,
      ecn,
      tsval,
      tsecr: options.timestamp,
      options: (['none', 'mss', 'offer'] as const)[most]!,
    },
    fail,
  );
}

/** An offer of nothing. */
function nothing($: XdpBuilder): Offered {
  const zero = (): IntVariable<32> => $.let($.u32(0).forget());
  return { present: zero(), mss: zero(), windowScale: zero(), ecn: zero() };
}

/** What the client offers and the host takes up. */
function offerOf($: XdpBuilder, { tcp, family }: Segment, options: SynOptions, stack: Stack): Offered {
  const mss = $.let(options.mss);
  $.if(options.present.hasAny(Present.MSS).not(), () => {
    mss.set(DEFAULT_MSS[family]);
  });
  const taken =
    (stack.timestamps ? Present.TIMESTAMPS : 0) |
    (stack.sack ? Present.SACK : 0) |
    (stack.windowScaling ? Present.WINDOW_SCALE : 0);
  const present = $.let(options.present.and(taken));
  const ecn = $.let($.u32(0).forget());
  if (stack.ecn) {
    const wants = TCP_FLAG.ECE | TCP_FLAG.CWR;
    $.if(tcp.flags.and(wants).eq(wants), () => {
      ecn.set(1);
    });
  }
  return { present, mss, windowScale: options.windowScale, ecn };
}

/** Whether a RST carries the cookie of a `reset` challenge: 1 where it does. */
export function isResetProof($: XdpBuilder, maps: KeyMaps, segment: Segment, now: Int<64>): Int<32> {
  const proof = $.let($.u32(0));
  const slot = $.let(slotOf(now));
  const seq = $.let(segment.tcp.seq.host());
  $.loop(2, (_round, loop) => {
    $.if(resetCookie($, maps, segment, slot).eq(seq), () => {
      proof.set(1);
    });
    loop.breakIf(proof.ne(0));
    slot.set(slot.sub(1));
  });
  return proof;
}

/** 1 for 0, which is what the kernel says of a right cookie. */
function right<R>($: Builder<R>, outcome: Int<64>): Int<32> {
  return $.select(outcome.eq(0), $.u32(1), $.u32(0));
}

/** Whether an ACK carries a cookie of the kernel's: 1 where it does. */
export function isKernelProof<R>($: Builder<R>, segment: Segment): Int<32> {
  const { family, tcp } = segment;
  const header = $.stack(Tcp);
  header.set({ source: tcp.source, dest: tcp.dest, seq: tcp.seq, ack: tcp.ack, dataOffset: 0x50, flags: TCP_FLAG.ACK });
  const check = family === 4 ? 'tcp_raw_check_syncookie_ipv4' : 'tcp_raw_check_syncookie_ipv6';
  return right($, $.call(check, ipCopy($, segment), header));
}

/** Whether a listener takes an ACK for the kernel's own cookie, as it does while it lately had to send some: 1 where it does. */
export function kernelTakes($: XdpBuilder, listener: SocketPointer, segment: Segment): Int<32> {
  const { family, ipv4, ipv6, tcp } = segment;
  const [ip, size] = family === 4 ? [ipv4!.header, Ipv4.size] : [ipv6!, Ipv6.size];
  return right($, $.call('tcp_check_syncookie', listener, ip, size, tcp, Tcp.size));
}

/** Whether an ACK carries a cookie that traffic control takes: 1 where it does. Reads the options, where the cursor stands. */
export function isAssignProof(
  $: XdpBuilder,
  packet: XdpPacket,
  maps: KeyMaps,
  segment: Segment,
  { stack }: Challenger,
  now: Int<64>,
  leave: LeaveWith<XdpAction>,
): Int<32> {
  const { present, echo } = parseSynOptions($, packet, segment, leave);
  const timestamps = $.let(present.and(stack.timestamps ? Present.TIMESTAMPS : 0));
  const stamps = { timestamps, echo: $.let(echo.toNetwork().raw()), host: stack.windowScale };
  return checkCookie($, maps, segment, stamps, now).valid;
}
