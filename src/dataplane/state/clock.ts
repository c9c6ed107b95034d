import { arrayMap, type Builder, type Int, u64 } from '../../ebpf/language.ts';
import type { Bucket, Policy } from '../../policy/policy.ts';

/** Where the program takes the time from, in nanoseconds. Tests and replay set it. */
export interface Clock {
  /** What tells programs with this clock from others; one without it is not kept for later. */
  readonly key?: string;
  /** The time of one of the last two ticks of the kernel (up to 20 ms old), for next to nothing. */
  coarse<R>($: Builder<R>): Int<64>;
  exact<R>($: Builder<R>): Int<64>;
}

export const kernelClock: Clock = {
  key: 'kernel',
  coarse: ($) => $.ktimeGetCoarseNs(),
  exact: ($) => $.ktimeGetNs(),
};

/** Coarse by the kernel's counter of ticks: how many nanoseconds each is, and what to add to get the monotonic clock. */
export function tickClock(tick: bigint, offset: bigint): Clock {
  return {
    key: `ticks of ${String(tick)}, ${String(offset)}`,
    coarse: ($) => $.call('jiffies64').mul(tick).add(BigInt.asUintN(64, offset)),
    exact: kernelClock.exact,
  };
}

/** A clock that stands still until user space sets it. */
export const settableClock = arrayMap('clock', { value: u64, maxEntries: 1, mmap: true });

export const clockFromMap: Clock = {
  coarse: ($) => $.at(settableClock, 0).value,
  exact: ($) => $.at(settableClock, 0).value,
};

/** A bucket that takes less than this to refill needs the exact clock: the coarse one is up to 20 ms old (two ticks where CONFIG_HZ=100). */
const COARSE_FROM = 1_000_000_000n;

/** Whether the coarse clock is exact enough for every limit. */
export function coarseSuffices({ services }: Pick<Policy, 'services'>): boolean {
  const long = ({ interval, burst }: Bucket): boolean => interval * BigInt(burst) >= COARSE_FROM;
  return services.every(({ limits }) =>
    [limits.source, limits.service, limits.verified, ...limits.prefixes].every((bucket) => !bucket || long(bucket)),
  );
}
