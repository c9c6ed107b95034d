/**
 * Sources that proved their address: a hashed array of lines with four places each. It is written only on proof, so forged packets can neither fill
 * it nor evict a source. IPv6 sources are remembered by their /64, which one host controls.
 */
import {
  array,
  arrayMap,
  type Builder,
  enumOf,
  type EnumValue,
  type Int,
  type Ref,
  struct,
  u32,
  u64,
  type View,
} from '../../ebpf/language.ts';
import type { Policy } from '../../policy/policy.ts';
import type { Address } from '../frame/address.ts';
import { mapGroup } from '../maps.ts';
import type { ActivityMaps } from './activity.ts';
import { type KeyMaps, keyedHash } from './hash.ts';
import { aheadOf, type MeterBucket } from './meter.ts';
import { tickShifts } from './ticks.ts';

/** A source that proved its address: a part of its hash, its own arrival time in ticks, and until when it counts (nanoseconds). */
const VerifiedEntry = struct('verified', { tag: u32, paid: u32, until: u64 });
const VERIFIED_WAYS = 4;
const VerifiedLine = struct('verified_line', { entries: array(VerifiedEntry, VERIFIED_WAYS) });
/** Lines of verified sources: 262,144 sources in 4 MiB. */
const VERIFIED_LINES = 1 << 16;

export const verifiedGroup = mapGroup({
  specs: () => ({ verified: arrayMap('verified', { value: VerifiedLine, maxEntries: VERIFIED_LINES, mmap: true }) }),
});
export type VerifiedMaps = ReturnType<typeof verifiedGroup.specs> & ActivityMaps & KeyMaps;

const MAX_TRIES = 4;

/** What a source is charged, in ticks. */
export interface Charge {
  readonly bucket: MeterBucket;
  /** How often its price is doubled, so that it is a full bucket at most. */
  readonly level: Int<32>;
  /** The clock in ticks. */
  readonly ticks: Int<32>;
}

/**
 * Takes a token of a verified source, whose arrival time may be up to `most` ahead of the clock. Gives 1 where it is further ahead. Against
 * other CPUs that take again and again, the token is a gift.
 */
function over<R>(
  $: Builder<R>,
  paid: Ref<'u32'>,
  { bucket: { price, credit }, level, ticks }: Charge,
  most: Int<32>,
): Int<32> {
  const refused = $.let($.u32(0));
  // Redeemed cookies go two buckets ahead, and one more is what the last of them may cost.
  const furthest = credit.add(price).mul(3);
  $.loop(MAX_TRIES, (_round, loop) => {
    const before = paid.get();
    const ahead = aheadOf($, before, ticks, furthest);
    $.if(ahead.gt(most), () => {
      refused.set(1);
    });
    loop.breakIf(refused.ne(0));
    loop.breakIf(paid.compareExchange(before, ticks.add(ahead).add(price.shl(level))).eq(before));
  });
  return refused;
}

const place = <R>($: Builder<R>, maps: VerifiedMaps, source: Address) => {
  const hash = keyedHash($, maps, source.family, source.leading(64));
  return { line: hash.u32().and(maps.verified.maxEntries - 1), tag: hash.shr(32).u32().or(1) };
};

/** The place of a source in its line, or VERIFIED_WAYS where it has none that is still good. */
function wayOf<R>($: Builder<R>, line: View<(typeof VerifiedLine)['fields']>, tag: Int<32>, now: Int<64>): Int<32> {
  const way = $.let($.u32(VERIFIED_WAYS));
  for (let index = 0; index < VERIFIED_WAYS; index++) {
    const entry = line.entries.at(index);
    $.if(entry.tag.eq(tag).and(entry.until.gt(now)), () => {
      way.set($.u32(index).forget());
    });
  }
  return way;
}

/** Whether a source is verified, without taking a token. */
export function isVerified<R>($: Builder<R>, maps: VerifiedMaps, source: Address, now: Int<64>): Int<32> {
  const found = $.let($.u32(0));
  const { line, tag } = place($, maps, source);
  $.lookup(maps.verified, line).match({
    some: (entries) => {
      $.if(wayOf($, entries, tag, now).lt(VERIFIED_WAYS), () => {
        found.set(1);
      });
    },
  });
  return found;
}

/** Unverified; within its wide limit while its service has enough, or is short; or over it. */
export const Verified = enumOf('verified', { NO: 0, WITHIN: 1, SHORT: 2, OVER: 3 });

/** Looks a source up, and takes a token of its wide limit where it is verified. `charge` is asked for verified sources only. */
export function verifiedSource<R>(
  $: Builder<R>,
  maps: VerifiedMaps,
  source: Address,
  now: Int<64>,
  charge: () => Charge,
): EnumValue<'verified'> {
  const proven = $.let(Verified.NO);
  // Without a recent proof there is nothing to find.
  $.if($.at(maps.activity, 0).verifiedUntil.gt(now), () => {
    const { line, tag } = place($, maps, source);
    $.lookup(maps.verified, line).match({
      some: (found) => {
        const way = wayOf($, found, tag, now);
        $.if(way.lt(VERIFIED_WAYS), () => {
          const paid = found.entries.at(way.and(VERIFIED_WAYS - 1)).ref('paid');
          const given = charge();
          const within = $.select(given.level.ne(0), $.u32(Verified.SHORT.number), $.u32(Verified.WITHIN.number));
          const refused = over($, paid, given, given.bucket.credit).ne(0);
          proven.set(Verified.of($.select(refused, $.u32(Verified.OVER.number), within).forget()));
        });
      },
    });
  });
  return proven;
}

/**
 * Remembers that a source proved its address, and charges it for a redeemed cookie. Gives 1 where it has redeemed more than its wide limit allows:
 * for cookies it has a second bucket, which SYNs in its name cannot empty.
 */
export function rememberAndCharge<R>(
  $: Builder<R>,
  maps: VerifiedMaps,
  source: Address,
  policy: RememberPolicy,
  now: Int<64>,
  charge: Charge,
): Int<32> {
  const refused = $.let($.u32(0));
  const { price, credit } = charge.bucket;
  remember($, maps, source, policy, now, (paid) => {
    refused.set(over($, paid, charge, credit.shl(1).add(price)));
  });
  return refused;
}

type RememberPolicy = Pick<Policy, 'remember' | 'services'>;

/** Remembers that a source proved its address, for `remember` nanoseconds: in its old place, else in the one that expires first. `use` gets its arrival time. */
export function remember<R>(
  $: Builder<R>,
  maps: VerifiedMaps,
  source: Address,
  { remember: duration, services }: RememberPolicy,
  now: Int<64>,
  use: (paid: Ref<'u32'>) => void = () => {},
): void {
  const { line, tag } = place($, maps, source);
  $.lookup(maps.verified, line).match({
    some: (found) => {
      const way = $.let($.u32(0));
      const soonest = $.let(found.entries.at(0).until);
      for (let index = 1; index < VERIFIED_WAYS; index++) {
        const { until } = found.entries.at(index);
        $.if(until.lt(soonest), () => {
          soonest.set(until);
          way.set(index);
        });
      }
      const fresh = $.let($.u32(1));
      for (let index = 0; index < VERIFIED_WAYS; index++) {
        $.if(found.entries.at(index).tag.eq(tag), () => {
          way.set(index);
          fresh.set(0);
        });
      }
      const entry = found.entries.at(way.forget().and(VERIFIED_WAYS - 1));
      // A source that proves itself again keeps what it owes; a new one begins with a full bucket.
      $.if(fresh.ne(0), () => {
        entry.set({ paid: now.shr(tickShifts(services).verified).u32(), tag });
      });
      entry.set({ until: now.add(duration) });
      $.at(maps.activity, 0).set({ verifiedUntil: now.add(duration) });
      use(entry.ref('paid'));
    },
  });
}
