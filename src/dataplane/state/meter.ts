/**
 * A token bucket for each of any number of keys, in fixed memory and fixed time: a count-min sketch of GCRA cells.
 *
 * A key has two cells in one cache line. What it owes is the smaller of the two, so it is judged too hard only where both
 * cells are shared with busy keys; a SYN that may come raises both to what it owes now, and no further (conservative update).
 * A SYN that may not come writes nothing. Cells change by compare-and-exchange, so no two CPUs spend the same token.
 */
import type { Builder, Int, IntVariable } from '../../ebpf/language.ts';
import { CELLS_PER_LINE, type MeterMap } from '../maps.ts';

/** A bucket in the ticks of its meter; numbers that are known while building, or not. */
export interface MeterBucket {
  /** What a SYN costs. */
  readonly price: Int<32> | number;
  /** How far ahead of the clock the cell may be for a SYN to come: the price of all tokens but one. */
  readonly credit: Int<32> | number;
}

const MAX_TRIES = 4;

/** What became of a SYN at a meter. */
export const Metered = { OVER: 0, WITHIN: 1, CONTENDED: 2 } as const;

/** How far a cell is ahead of the clock, in ticks. One that is further than a full bucket allows is stale: it wrapped, and counts as empty. */
export function aheadOf<R>($: Builder<R>, cell: Int<32>, now: Int<32>, limit: Int<32> | number): IntVariable<32> {
  const ahead = $.let(cell.sub(now));
  $.if(ahead.gt(limit), () => {
    ahead.set(0);
  });
  return ahead;
}

/**
 * Takes a token for the key of this hash. Gives a `Metered` and how far ahead of the clock its cell was, in ticks. `now` is in
 * ticks.
 */
export function meter<R>(
  $: Builder<R>,
  map: MeterMap,
  hash: Int<64>,
  { price, credit }: MeterBucket,
  now: Int<32>,
): { readonly outcome: Int<32>; readonly ahead: Int<32> } {
  const outcome = $.let($.u32(Metered.CONTENDED));
  const ahead = $.let($.u32(0));
  const half = CELLS_PER_LINE / 2;
  $.lookup(map, hash.u32().and(map.maxEntries - 1)).match({
    some: (line) => {
      const first = hash
        .shr(32)
        .u32()
        .and(half - 1);
      const second = hash
        .shr(35)
        .u32()
        .and(half - 1)
        .add(half);
      const limit =
        typeof credit === 'number' && typeof price === 'number' ? credit + price : $.u32(0).add(credit).add(price);
      $.loop(MAX_TRIES, (_round, loop) => {
        const cells = line.cells;
        const [a, b] = [$.let(cells.ref(first).get()), $.let(cells.ref(second).get())];
        const [owedA, owedB] = [aheadOf($, a, now, limit), aheadOf($, b, now, limit)];
        const [low, high] = [$.let(first), $.let(second)];
        $.if(owedB.lt(owedA), () => {
          // From here on a is the cell that owes less.
          const [swapA, swapOwed] = [a.add(0), owedA.add(0)];
          a.set(b);
          b.set(swapA);
          owedA.set(owedB);
          owedB.set(swapOwed);
          low.set(second);
          high.set(first);
        });
        ahead.set(owedA);
        outcome.set(Metered.OVER);
        loop.breakIf(owedA.gt(credit));
        const next = owedA.add(price);
        const found = cells.ref(low.and(CELLS_PER_LINE - 1)).compareExchange(a, now.add(next));
        outcome.set(Metered.CONTENDED);
        loop.continueIf(found.ne(a));
        outcome.set(Metered.WITHIN);
        $.if(owedB.lt(next), () => {
          cells.ref(high.and(CELLS_PER_LINE - 1)).compareExchange(b, now.add(next));
        });
        loop.break();
      });
    },
  });
  return { outcome, ahead };
}
