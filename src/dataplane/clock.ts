import { arrayMap, type Builder, type Int, u64 } from '../ebpf/language.ts';

/** Where the program takes the time from, in nanoseconds. Tests and replay set it. */
export interface Clock {
  /** The time of the last tick of the kernel (1 to 10 ms old), at a sixth of the price. */
  coarse<R>($: Builder<R>): Int<64>;
  exact<R>($: Builder<R>): Int<64>;
}

export const kernelClock: Clock = {
  coarse: ($) => $.ktimeGetCoarseNs(),
  exact: ($) => $.ktimeGetNs(),
};

/** A clock that stands still until user space sets it. */
export const settableClock = arrayMap('clock', { value: u64, maxEntries: 1, mmap: true });

export const clockFromMap: Clock = {
  coarse: ($) => $.at(settableClock, 0).value,
  exact: ($) => $.at(settableClock, 0).value,
};
