/**
 * The budget of strays of each service, and when segments are looked at for them. All CPUs share a bucket; each takes tokens in
 * batches, so no shared line is written per packet.
 *
 * In the mode `auto` one of `batch` segments is looked at, on average, and stands for a batch. A stray over its budget sets `until`, and
 * until then every segment is looked at. That ends `HOLD` after the last stray that was dropped.
 */
import {
  arrayMap,
  type Builder,
  bytes,
  type GlobalFunc,
  globalFunc,
  type Int,
  perCpuArray,
  struct,
  u32,
  u64,
} from '../../ebpf/language.ts';
import type { Policy } from '../../policy/policy.ts';
import { mapGroup } from '../maps.ts';

/** A service's bucket in nanoseconds of GCRA, on a line of its own; a price of zero where its strays are not looked for. */
const StrayBudget = struct('stray_budget', { paid: u64, price: u64, credit: u64, spare: bytes(40) });
/** Until when every segment is looked at: nanoseconds. */
const StrayWatch = struct('stray_watch', { until: u64, spare: bytes(56) });
/** How many segments a CPU passes before it looks at one. */
const StraySample = struct('stray_sample', { skip: u32 });

export const strayGroup = mapGroup({
  specs: ({ policy: { services } }) => ({
    strays: arrayMap('strays', { value: StrayBudget, maxEntries: services.length, mmap: true }),
    strayShares: perCpuArray('stray_shares', { value: u32, maxEntries: services.length }),
    strayWatch: arrayMap('stray_watch', { value: StrayWatch, maxEntries: 1, mmap: true }),
    straySample: perCpuArray('stray_sample', { value: StraySample, maxEntries: 1 }),
  }),
  contents: ({ strays }, { policy: { services } }) => [
    {
      map: strays,
      entries: services.map(({ state, limits: { strays: bucket } }, index) => {
        const [price, credit] = [bucket.interval, bucket.interval * BigInt(bucket.burst)];
        return [index, { paid: 0n, price: state === 'off' ? 0n : price, credit, spare: Buffer.alloc(40) }];
      }),
    },
  ],
});
export type StrayMaps = ReturnType<typeof strayGroup.specs>;

/** How long every segment is looked at after the last stray that was dropped, and how often that is written down: nanoseconds. */
const HOLD = 10_000_000_000n;
const STEP = 1_000_000_000n;
const LARGEST_BATCH = 256;
const MAX_TRIES = 4;

/** Tokens that a CPU takes at once, and segments of which one is looked at in peace: an eighth of the smallest bucket at most. */
export function strayBatch({ services }: Pick<Policy, 'services'>): number {
  const bursts = services.filter(({ state }) => state !== 'off').map(({ limits }) => limits.strays.burst);
  return Math.max(1, Math.min(LARGEST_BATCH, ...bursts.map((burst) => Math.floor(burst / 8))));
}

/** Gives 1 while every segment is looked at. */
export const watching = <R>($: Builder<R>, { strayWatch }: StrayMaps, now: Int<64>): Int<32> =>
  $.select($.at(strayWatch, 0).until.gt(now), $.u32(1), $.u32(0));

/** Gives 1 for one of `batch` segments, at random. */
export function sampled<R>($: Builder<R>, { straySample }: StrayMaps, batch: number): Int<32> {
  if (batch === 1) return $.u32(1);
  const found = $.let($.u32(0));
  $.lookup(straySample, 0).match({
    some: (sample) => {
      const { skip } = sample;
      $.if(
        skip.ne(0),
        () => {
          sample.set({ skip: skip.sub(1) });
        },
        () => {
          found.set(1);
          sample.set({ skip: $.randomU32().mod(2 * batch - 1) });
        },
      );
    },
  });
  return found;
}

/** Gives 1 where strays of a service are looked for; there is none of the number NO_SERVICE. */
export function isWatched<R>($: Builder<R>, { strays }: StrayMaps, index: Int<32>): Int<32> {
  const found = $.let($.u32(0));
  $.lookup(strays, index).match({
    some: ({ price }) => {
      $.if(price.ne(0), () => {
        found.set(1);
      });
    },
  });
  return found;
}

type OverBudget = GlobalFunc<readonly [32, 32, 64], 32>;
/** By the maps: both families call the same function. */
const overBudget = new WeakMap<StrayMaps['strays'], OverBudget>();

/**
 * What takes a token of a service's budget, or a batch of them where the stray stands for one (`all` is 0), and gives 1 where there is
 * none: of the service's number, `all` and the time. A function, so that the verifier walks it once.
 */
export function budgetFunction(maps: StrayMaps, batch: number): OverBudget {
  const made = overBudget.get(maps.strays) ?? makeOverBudget(maps, batch);
  overBudget.set(maps.strays, made);
  return made;
}

const makeOverBudget = ({ strays, strayShares, strayWatch }: StrayMaps, batch: number): OverBudget =>
  globalFunc('over_budget', [32, 32, 64], 32, ($, index, all, now) => {
    const share = $.lookup(strayShares, index).orExit(0);
    const tokens = share.value;
    $.if(tokens.ne(0).and(all.ne(0)), () => {
      share.set({ value: tokens.sub(1) });
      return 0;
    });
    const budget = $.lookup(strays, index).orExit(0);
    const cost = budget.price.mul(batch);
    $.loop(MAX_TRIES, (_round, loop) => {
      const { paid } = budget;
      const start = $.select(paid.gt(now), paid, now);
      loop.breakIf(start.add(cost).sub(now).gt(budget.credit));
      const found = budget.ref('paid').compareExchange(paid, start.add(cost));
      $.if(found.eq(paid), () => {
        share.set({ value: $.select(all.ne(0), $.u32(batch - 1), $.u32(0)) });
        return 0;
      });
    });
    const watch = $.at(strayWatch, 0);
    $.if(watch.until.lt(now.add(HOLD - STEP)), () => {
      watch.set({ until: now.add(HOLD) });
    });
    return 1;
  });
