/**
 * Cookies that made a connection. A cookie makes one: the segment behind its ACK may come before the connection is there, and must not
 * make a second one; neither must who replays the ACK later. Memory is fixed: of the cookies redeemed since, each has one chance
 * in 2^17 to take the place of a given one.
 */
import { arrayMap, type Builder, type Int, struct, u64 } from '../../ebpf/language.ts';
import type { Segment } from '../frame/parse.ts';
import { mapGroup } from '../maps.ts';
import { type KeyMaps, keyedHash } from './hash.ts';

/** Both sequence numbers of an ACK as they lie in memory, and until when its cookie is not to be taken again: nanoseconds, 0 for ever. */
const Redeemed = struct('redeemed', { numbers: u64, until: u64 });
const PLACES = 1 << 17;
/** Longer than a batch of packets is under way, and shorter than a client waits before it sends again (200 ms). */
const BATCH_NS = 100_000_000n;

export const redeemedGroup = mapGroup({
  specs: () => ({ redeemed: arrayMap('redeemed', { value: Redeemed, maxEntries: PLACES, mmap: true }) }),
});
export type RedeemedMaps = ReturnType<typeof redeemedGroup.specs>;

const numbersOf = ({ tcp }: Segment): Int<64> => tcp.seq.raw().u64().or(tcp.ack.raw().u64().shl(32));
const placeOf = <R>($: Builder<R>, maps: KeyMaps, segment: Segment): Int<32> =>
  keyedHash($, maps, segment.family, [numbersOf(segment)])
    .u32()
    .and(PLACES - 1);

/** 1 where the cookie made a connection before. */
export function wasRedeemed<R>($: Builder<R>, maps: RedeemedMaps & KeyMaps, segment: Segment, now: Int<64>): Int<32> {
  const found = $.let($.u32(0));
  $.lookup(maps.redeemed, placeOf($, maps, segment)).match({
    some: ({ numbers, until }) => {
      $.if(numbers.eq(numbersOf(segment)).and(until.eq(0).or(until.gt(now))), () => {
        found.set(1);
      });
    },
  });
  return found;
}

/**
 * Notes that the cookie made a connection; for the moment where `forever` is 0, because the kernel may still drop the ACK for a full
 * accept queue, and the client send it again.
 */
export function markRedeemed<R>(
  $: Builder<R>,
  maps: RedeemedMaps & KeyMaps,
  segment: Segment,
  forever: Int<32>,
  now: Int<64>,
): void {
  $.lookup(maps.redeemed, placeOf($, maps, segment)).match({
    some: (entry) => {
      entry.set({ numbers: numbersOf(segment), until: $.select(forever.ne(0), $.u64(0), now.add(BATCH_NS)) });
    },
  });
}
