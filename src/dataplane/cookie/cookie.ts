/**
 * Cookies: the properties of a SYN in a number that only its real sender can return.
 *
 *     with timestamps      ISN        32 bits of hash
 *                          TSval      01 | 6 bits zero | our scale 4 | MSS 14 | window scale 4 | SACK 1 | ECN 1
 *     without              ISN        28 bits of hash | MSS class 2 | option class 2
 *     reset                ACK        32 bits of hash
 *
 * Cookies of two slots are good, so a random ACK without timestamps makes a connection with a chance of 2^-27, and one with
 * timestamps with 2^-31.
 *
 * The hash is over both addresses, both ports, the client's ISN, the slot of time, and the bits that the cookie carries. A slot
 * lasts 34 seconds; a cookie is good in its own slot and the next. Each slot has one of four keys in turn, so user space can
 * replace the keys of the two slots that are neither in use nor still accepted.
 */
import { type Builder, globalFunc, type Int, type IntVariable, struct, u64 } from '../../ebpf/language.ts';
import type { KeyMaps } from '../state/hash.ts';
import { portsWord, type Segment } from '../frame/parse.ts';
import { type Rounds, sipHash } from './siphash.ts';
import { Present } from '../frame/syn-options.ts';

/** Nanoseconds of a slot: 2^35. */
export const SLOT_SHIFT = 35;
export const COOKIE_KEYS = 4;
/** How long a cookie may be sent back, at most. */
export const COOKIE_LIFE = 2n << BigInt(SLOT_SHIFT);
/** One round a word and three at the end: what Rust and Python hash with against chosen keys; a guess must hit 28 bits within a minute. */
const ROUNDS: Rounds = { compression: 1, finalization: 3 };

const WITHOUT_TIMESTAMPS = 1 << 31;
const RESET = 0xffff_ffff;
/** The upper bits of a TSval that carries options; never zero, which some take for none. */
const TSVAL_MARK = 0x4000_0000;
const NO_SCALE = 15;
/** Where a TSval has what we scale our own windows by. */
const OUR_SCALE_SHIFT = 20;
/** Cookies without timestamps have no room for it: all have the host's, and one from before the host's changed is none. */
const withoutTimestamps = (host: number): number => (WITHOUT_TIMESTAMPS | (host << 8)) >>> 0;
/** What MSS classes stand for, IPv4 and IPv6: the kernel's own (net/ipv4/syncookies.c, net/ipv6/syncookies.c). */
const MSS_CLASSES = { 4: [536, 1300, 1440, 1460], 6: [1220, 1420, 1440, 8940] } as const;
/**
 * What two bits of a cookie without timestamps say of the options: neither, SACK alone, or SACK and a window scale. A scale is
 * rounded down, which only makes the client's window look smaller: 8 is Windows's, 7 Linux's.
 */
const OptionClass = { NONE: 0, SACK: 1, SMALL_SCALE: 2, LARGE_SCALE: 3 } as const;
const SMALL_SCALE = 2;
const LARGE_SCALE = 7;
/** Where a SYN says nothing (RFC 9293, section 3.7.1; RFC 8200, section 8.3). */
export const DEFAULT_MSS = { 4: 536, 6: 1220 } as const;

export const slotOf = (now: Int<64>): Int<32> => now.shr(SLOT_SHIFT).u32();

/** Whose connection a cookie is for: the client's end first. */
export type Tuple = Pick<Segment, 'source' | 'destination' | 'tcp' | 'family'>;

const sipHash4 = globalFunc('siphash_v4', [64, 64, 64, 64, 64], 64, ($, k0, k1, addresses, ports, slot) =>
  sipHash($, [k0, k1], [addresses, ports, slot], ROUNDS),
);

const Message6 = struct('siphash_v6', {
  k0: u64,
  k1: u64,
  source0: u64,
  source1: u64,
  destination0: u64,
  destination1: u64,
  ports: u64,
  slot: u64,
});
const sipHash6 = globalFunc('siphash_v6', [Message6], 64, ($, message) => {
  const { k0, k1, source0, source1, destination0, destination1, ports, slot } = message;
  return sipHash($, [k0, k1], [source0, source1, destination0, destination1, ports, slot], ROUNDS);
});

function hash<R>(
  $: Builder<R>,
  { keys }: KeyMaps,
  { source, destination, tcp, family }: Tuple,
  isn: Int<32>,
  slot: Int<32>,
  extra: Int<32>,
): Int<32> {
  const secret = $.at(keys, 0).cookie;
  const at = slot.and(COOKIE_KEYS - 1).shl(1);
  const [k0, k1] = [secret.at(at), secret.at(at.add(1).and(COOKIE_KEYS * 2 - 1))] as const;
  const pair = (low: Int<32>, high: Int<32>): Int<64> => low.u64().or(high.u64().shl(32));
  const [ports, moment] = [pair(portsWord(tcp), isn), pair(slot, extra)];
  if (family === 4) return $.invoke(sipHash4, k0, k1, pair(source.ipv4(), destination.ipv4()), ports, moment).u32();
  const [[source0, source1], [destination0, destination1]] = [source.pair($), destination.pair($)];
  const message = $.stack(Message6);
  message.set({ k0, k1, source0, source1, destination0, destination1 });
  message.set({ ports, slot: moment });
  return $.invoke(sipHash6, message).u32();
}

/** The properties of a client's SYN that a cookie carries. */
export interface Offer {
  /** Bits of `Present` of the options in use. */
  readonly present: Int<32>;
  readonly mss: Int<32>;
  readonly windowScale: Int<32>;
  /** 1 for a client that offers ECN. */
  readonly ecn: Int<32>;
}

const bit = (present: Int<32>, mask: number): Int<32> => {
  const shift = Math.log2(mask);
  return present.shr(shift).and(1);
};

/** The window scale in four bits: 15 for none. A shift of more than 14 means 14 (RFC 7323, section 2.3). */
function scaleBits<R>($: Builder<R>, { present, windowScale }: Offer): Int<32> {
  const scale = $.let(windowScale);
  $.if(scale.gt(14), () => {
    scale.set(14);
  });
  $.if(present.hasAny(Present.WINDOW_SCALE).not(), () => {
    scale.set(NO_SCALE);
  });
  return scale;
}

/** Window scale, SACK and ECN in six bits. */
function optionBits<R>($: Builder<R>, offer: Offer): Int<32> {
  return scaleBits($, offer).shl(2).or(bit(offer.present, Present.SACK).shl(1)).or(offer.ecn);
}

/** Leaves out of an offer without timestamps what its cookie has no room for: ECN, and a scale that is small or without SACK. */
export function fitOffer<R>($: Builder<R>, present: IntVariable<32>, windowScale: Int<32>, ecn: IntVariable<32>): void {
  $.if(present.hasAny(Present.TIMESTAMPS).not(), () => {
    ecn.set(0);
    $.if(present.hasAny(Present.SACK).not().or(windowScale.lt(SMALL_SCALE)), () => {
      present.set(present.and(Present.SACK));
    });
  });
}

/** The class of a fitted offer. */
function optionClass<R>($: Builder<R>, { present, windowScale }: Offer): Int<32> {
  const found = $.let(bit(present, Present.SACK));
  $.if(present.hasAny(Present.WINDOW_SCALE), () => {
    found.set(OptionClass.SMALL_SCALE);
    $.if(windowScale.ge(LARGE_SCALE), () => {
      found.set(OptionClass.LARGE_SCALE);
    });
  });
  return found;
}

const MILLISECOND = 1_000_000n;
const KERNEL_OPTION_BITS = 6;

/** The timestamp in which the kernel looks for what its own cookies have no room for: milliseconds, whose low bits are ECN 1, SACK 1, window scale 4 (`cookie_init_timestamp`, net/ipv4/syncookies.c). */
export function kernelTimestamp<R>($: Builder<R>, offer: Offer, now: Int<64>): Int<32> {
  const options = offer.ecn.shl(5).or(bit(offer.present, Present.SACK).shl(4)).or(scaleBits($, offer));
  const clock = now.div(MILLISECOND);
  const stamp = $.let(clock.shr(KERNEL_OPTION_BITS).shl(KERNEL_OPTION_BITS).or(options.u64()));
  // Never ahead of the clock, which the connection goes on with.
  $.if(stamp.gt(clock), () => {
    stamp.set(stamp.sub(1 << KERNEL_OPTION_BITS));
  });
  return stamp.u32();
}

/**
 * A cookie for a fitted offer to a SYN with the number `isn`: the ISN to answer with, and the TSval where it has timestamps. `ours` is what we scale our windows
 * by, `host` the same of listeners that set nothing of their own.
 * Hashed in one place for both kinds. */
export function cookieFor<R>(
  $: Builder<R>,
  maps: KeyMaps,
  tuple: Tuple,
  offer: Offer,
  { isn, ours, host }: { readonly isn: Int<32>; readonly ours: Int<32>; readonly host: number },
  now: Int<64>,
): { isn: Int<32>; tsval: Int<32> } {
  const extra = $.let($.u32(0));
  const timestamps = $.let(offer.present.and(Present.TIMESTAMPS));
  $.if(
    timestamps.ne(0),
    () => {
      const mss = $.let(offer.mss);
      $.if(mss.gt(0x3fff), () => {
        mss.set(0x3fff);
      });
      // Linux refuses a connection with less than this, and its own cookies have no smaller class.
      const [least] = MSS_CLASSES[tuple.family];
      $.if(mss.lt(least), () => {
        mss.set(least);
      });
      extra.set(mss.shl(6).or(optionBits($, offer)).or(ours.shl(OUR_SCALE_SHIFT)).or(TSVAL_MARK));
    },
    () => {
      const mssClass = $.let($.u32(0));
      for (const [index, mss] of MSS_CLASSES[tuple.family].entries()) {
        if (index === 0) continue;
        $.if(offer.mss.ge(mss), () => {
          mssClass.set(index);
        });
      }
      extra.set(mssClass.shl(2).or(optionClass($, offer)).or(withoutTimestamps(host)));
    },
  );
  const cookie = $.let(hash($, maps, tuple, isn, slotOf(now), extra));
  $.if(timestamps.eq(0), () => {
    cookie.set(cookie.shl(4).or(extra.and(0xf)));
  });
  return { isn: cookie, tsval: extra };
}

/** What to acknowledge, in place of a SYN's number, so that a real client answers RST. */
export function resetCookie<R>($: Builder<R>, maps: KeyMaps, tuple: Tuple, slot: Int<32>): Int<32> {
  return hash($, maps, tuple, $.u32(0), slot, $.u32(RESET));
}

/** The contents of a cookie. `valid` is 0 for one that is not ours, not for this connection, or too old. */
export interface Redeemed {
  readonly valid: Int<32>;
  readonly mss: Int<32>;
  /** 15 for none. */
  readonly windowScale: Int<32>;
  readonly sack: Int<32>;
  readonly ecn: Int<32>;
  /** What we said to scale our own windows by. */
  readonly ours: Int<32>;
}

/** The timestamps of an ACK, in host order; 0 where it has none, or the host takes no part in them. `host` as in `cookieFor`. */
export interface Echoed {
  readonly timestamps: Int<32>;
  readonly echo: Int<32>;
  readonly host: number;
}

/** Whether an ACK brings back a cookie of ours: 1 where it does; and what a right one carries. */
export function checkCookie<R>(
  $: Builder<R>,
  maps: KeyMaps,
  tuple: Tuple,
  { timestamps: given, echo, host }: Echoed,
  now: Int<64>,
): { readonly valid: Int<32>; readonly extra: Int<32> } {
  // What is learned here is not to tell the paths apart that go on.
  const timestamps = given.forget();
  const cookie = tuple.tcp.ack.host().sub(1);
  const isn = $.let(tuple.tcp.seq.host().sub(1));
  const valid = $.let($.u32(0));
  const extra = $.let(cookie.and(0xf).or(withoutTimestamps(host)));
  // Without timestamps the cookie has the hash's low bits in its upper ones.
  const wanted = $.let(cookie.shr(4));
  const bits = $.let($.u32(0xfff_ffff));
  $.if(timestamps.ne(0), () => {
    extra.set(echo);
    wanted.set(cookie);
    bits.set(0xffff_ffff);
  });
  const mask = $.let(bits.forget());
  const slot = $.let(slotOf(now));
  $.loop(2, (_round, loop) => {
    $.if(hash($, maps, tuple, isn, slot, extra).and(mask).eq(wanted), () => {
      valid.set(1);
    });
    loop.breakIf(valid.ne(0));
    slot.set(slot.sub(1));
  });
  return { valid, extra };
}

/** Reads the cookie that an ACK brings back. */
export function redeem<R>($: Builder<R>, maps: KeyMaps, tuple: Tuple, echoed: Echoed, now: Int<64>): Redeemed {
  const { timestamps, host } = echoed;
  const { valid, extra } = checkCookie($, maps, tuple, echoed, now);
  const mss = $.let(extra.shr(6).and(0x3fff));
  const windowScale = $.let(extra.shr(2).and(15));
  const sack = $.let(extra.shr(1).and(1));
  const ecn = $.let(extra.and(1));
  const ours = $.let(extra.shr(OUR_SCALE_SHIFT).and(15));
  $.if(timestamps.eq(0), () => {
    ours.set(host);
    const options = extra.and(3);
    sack.set($.select(options.eq(OptionClass.NONE), $.u32(0), $.u32(1)));
    ecn.set(0);
    const large = $.select(options.eq(OptionClass.LARGE_SCALE), $.u32(LARGE_SCALE), $.u32(SMALL_SCALE));
    windowScale.set($.select(options.ge(OptionClass.SMALL_SCALE), large, $.u32(NO_SCALE)));
    const mssClass = extra.shr(2).and(3);
    MSS_CLASSES[tuple.family].forEach((size, index) => {
      $.if(mssClass.eq(index), () => {
        mss.set(size);
      });
    });
  });
  return { valid, mss, windowScale: windowScale.forget(), sack, ecn, ours };
}
