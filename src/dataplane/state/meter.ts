/**
 * A token bucket for each of any number of keys, in fixed memory and fixed time: a count-min sketch of GCRA cells.
 *
 * A key has two cells in one cache line. What it owes is the smaller of the two, so it is judged too hard only where both
 * cells are shared with busy keys; a SYN within the limit raises both to what it owes now, and no further (conservative update).
 * A rejected SYN writes nothing. Cells change by compare-and-exchange, so no two CPUs spend the same token.
 */
import {
  array,
  arrayMap,
  type Builder,
  enumOf,
  type EnumValue,
  type Int,
  type IntVariable,
  type MapSpec,
  struct,
  u32,
} from '../../ebpf/language.ts';
import { mapGroup } from '../maps.ts';
import { tickShifts } from './ticks.ts';

/** Cells of a meter that share a cache line: each source has one of the first eight and one of the others. */
export const CELLS_PER_LINE = 16;

/**
 * A line of a meter. A cell is the theoretical arrival time of GCRA (ITU-T I.371) in ticks, modulo 2^32: the time until which
 * what came is paid for. A cell further ahead of the clock than a full bucket is one that the clock has overtaken, and empty.
 */
const MeterLine = struct('meter_line', { cells: array(u32, CELLS_PER_LINE) });
export type MeterMap = MapSpec<typeof u32, typeof MeterLine, 'array'>;

/** One meter for sources, and one for each length of prefix. Cells of other ticks mean something else, so ticks are in the name. */
export const meterGroup = mapGroup({
  specs: ({ policy: { services, cells } }) => {
    const shifts = tickShifts(services);
    const meterMap = (name: string, shift: number): MeterMap =>
      // Mapped arrays begin on a page, so that no line straddles two of the cache's.
      arrayMap(`${name}_${String(shift)}`, { value: MeterLine, maxEntries: cells / CELLS_PER_LINE, mmap: true });
    return {
      meters: {
        source: meterMap('meter_src', shifts.source),
        prefixes: services[0]!.limits.prefixes.map(({ family, bits }, at) =>
          meterMap(`meter_v${String(family)}_${String(bits)}`, shifts.prefixes[at]!),
        ),
      },
    };
  },
});
export type MeterMaps = ReturnType<typeof meterGroup.specs>;

/** A bucket in the ticks of its meter. A price of zero is no limit. */
export interface MeterBucket {
  /** The price of a SYN. */
  readonly price: Int<32>;
  /** How far ahead of the clock the cell may be for a SYN to pass: the price of all tokens but one. */
  readonly credit: Int<32>;
}

const MAX_TRIES = 4;

/** What became of a SYN at a meter. */
export const Metered = enumOf('metered', { OVER: 0, WITHIN: 1, CONTENDED: 2 });

/** How far a cell is ahead of the clock, in ticks. One that is further than a full bucket allows is stale: it wrapped, and counts as empty. */
export function aheadOf<R>($: Builder<R>, cell: Int<32>, now: Int<32>, limit: Int<32>): IntVariable<32> {
  const ahead = $.let(cell.sub(now));
  $.if(ahead.gt(limit), () => {
    ahead.set($.u32(0).forget());
  });
  return ahead;
}

/**
 * Takes a token for the key of this hash. Gives what became of it and how far ahead of the clock its cell was, in ticks. `now` is in
 * ticks.
 */
export function meter<R>(
  $: Builder<R>,
  map: MeterMap,
  hash: Int<64>,
  { price, credit }: MeterBucket,
  now: Int<32>,
): { readonly outcome: EnumValue<'metered'>; readonly ahead: Int<32> } {
  const outcome = $.let(Metered.CONTENDED);
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
      const limit = credit.add(price);
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
