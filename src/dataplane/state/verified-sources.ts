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
  struct,
  u32,
  u64,
  type View,
} from '../../ebpf/language.ts';
import type { Address } from '../frame/address.ts';
import { mapGroup } from '../maps.ts';
import type { ActivityMaps } from './activity.ts';
import { type KeyMaps, keyedHash } from './hash.ts';
import { aheadOf, type MeterBucket } from './meter.ts';

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
      way.set(index);
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

/** Unverified, within its verified limit, or over it. */
export const Verified = enumOf('verified', { NO: 0, WITHIN: 1, OVER: 2 });

/** Looks a source up, and takes a token of its wide limit where it is verified. `now` is the clock in nanoseconds. */
export function verifiedSource<R>(
  $: Builder<R>,
  maps: VerifiedMaps,
  source: Address,
  { price, credit }: MeterBucket,
  shift: number,
  now: Int<64>,
): EnumValue<'verified'> {
  const outcome = $.let(Verified.NO);
  // Without a recent proof there is nothing to find.
  $.if($.at(maps.activity, 0).verifiedUntil.gt(now), () => {
    const { line, tag } = place($, maps, source);
    $.lookup(maps.verified, line).match({
      some: (found) => {
        const way = wayOf($, found, tag, now);
        $.if(way.lt(VERIFIED_WAYS), () => {
          const paid = found.entries.at(way.and(VERIFIED_WAYS - 1)).ref('paid');
          const ticks = now.shr(shift).u32();
          const limit = credit.add(price);
          outcome.set(Verified.WITHIN);
          $.loop(MAX_TRIES, (_round, loop) => {
            const before = paid.get();
            const ahead = aheadOf($, before, ticks, limit);
            $.if(ahead.gt(credit), () => {
              outcome.set(Verified.OVER);
            });
            loop.breakIf(outcome.eq(Verified.OVER));
            loop.breakIf(paid.compareExchange(before, ticks.add(ahead).add(price)).eq(before));
          });
        });
      },
    });
  });
  return outcome;
}

/** Remembers that a source proved its address, for `remember` nanoseconds: in its old place, else in the one that expires first. */
export function remember<R>($: Builder<R>, maps: VerifiedMaps, source: Address, duration: bigint, now: Int<64>): void {
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
      const entry = found.entries.at(way.and(VERIFIED_WAYS - 1));
      // A source that proves itself again keeps what it owes; a new one begins with a full bucket.
      $.if(fresh.ne(0), () => {
        entry.set({ paid: 0, tag });
      });
      entry.set({ until: now.add(duration) });
      $.at(maps.activity, 0).set({ verifiedUntil: now.add(duration) });
    },
  });
}
