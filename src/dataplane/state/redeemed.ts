/**
 * Cookies that made a connection. A cookie makes one connection: the segment behind its ACK may arrive before the connection exists and must not make
 * a second one, and neither must a replay of the ACK. Memory is fixed: each cookie redeemed later has a chance of one in 2^17 to replace a given one.
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
const OTHERS = 0xffff_ffff_ffff_ffffn;

export const redeemedGroup = mapGroup({
  specs: () => ({ redeemed: arrayMap('redeemed', { value: Redeemed, maxEntries: PLACES, mmap: true }) }),
});
export type RedeemedMaps = ReturnType<typeof redeemedGroup.specs>;

/** What an ACK did: its cookie made a connection, or it ended the TIME-WAIT of the one before. The latter lies under other numbers. */
type Deed = 'redeemed' | 'reopened';

const numbersOf = ({ tcp }: Segment, deed: Deed): Int<64> => {
  const numbers = tcp.seq.raw().u64().or(tcp.ack.raw().u64().shl(32));
  return deed === 'redeemed' ? numbers : numbers.xor(OTHERS);
};
const placeOf = <R>($: Builder<R>, maps: KeyMaps, segment: Segment, deed: Deed): Int<32> =>
  keyedHash($, maps, segment.family, [numbersOf(segment, deed)])
    .u32()
    .and(PLACES - 1);

/** 1 where the ACK did that before, as far as it is remembered. */
function did<R>($: Builder<R>, maps: RedeemedMaps & KeyMaps, segment: Segment, deed: Deed, now: Int<64>): Int<32> {
  const found = $.let($.u32(0));
  $.lookup(maps.redeemed, placeOf($, maps, segment, deed)).match({
    some: ({ numbers, until }) => {
      $.if(numbers.eq(numbersOf(segment, deed)).and(until.eq(0).or(until.gt(now))), () => {
        found.set(1);
      });
    },
  });
  return found;
}

/** Remembers what the ACK did, until a time in nanoseconds, 0 for ever. */
function note<R>($: Builder<R>, maps: RedeemedMaps & KeyMaps, segment: Segment, deed: Deed, until: Int<64>): void {
  $.lookup(maps.redeemed, placeOf($, maps, segment, deed)).match({
    some: (entry) => {
      entry.set({ numbers: numbersOf(segment, deed), until });
    },
  });
}

/** 1 where the cookie made a connection before. */
export const wasRedeemed = <R>($: Builder<R>, maps: RedeemedMaps & KeyMaps, segment: Segment, now: Int<64>): Int<32> =>
  did($, maps, segment, 'redeemed', now);

/**
 * Records that the cookie made a connection. With `forever` 0 the record lasts a moment only: the kernel may still drop the ACK for a full accept
 * queue, and the client sends it again.
 */
export function markRedeemed<R>(
  $: Builder<R>,
  maps: RedeemedMaps & KeyMaps,
  segment: Segment,
  forever: Int<32>,
  now: Int<64>,
): void {
  note($, maps, segment, 'redeemed', $.select(forever.ne(0), $.u64(0), now.add(BATCH_NS)));
}

/** 1 where the ACK ended a TIME-WAIT a moment ago: its copy, which comes in behind it. */
export const hasReopened = <R>($: Builder<R>, maps: RedeemedMaps & KeyMaps, segment: Segment, now: Int<64>): Int<32> =>
  did($, maps, segment, 'reopened', now);

/** Notes that the ACK ends a TIME-WAIT. */
export function markReopened<R>($: Builder<R>, maps: RedeemedMaps & KeyMaps, segment: Segment, now: Int<64>): void {
  note($, maps, segment, 'reopened', now.add(BATCH_NS));
}
