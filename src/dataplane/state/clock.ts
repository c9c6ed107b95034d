import { arrayMap, type Builder, type Int, u64 } from '../../ebpf/language.ts';

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
