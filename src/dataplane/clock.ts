import { arrayMap, type Int, u64, type XdpBuilder } from '../ebpf/language.ts';

/** Where the program takes the time from, in nanoseconds. Tests and replay set it. */
export type Clock = ($: XdpBuilder) => Int<64>;

/** A tick of the coarse clock is at most 10 ms (CONFIG_HZ=100): one per cent of this. */
const COARSE_FROM = 1_000_000_000n;

/** The kernel's clock: the coarse one, at a sixth of the price, where an interval is long against its ticks. */
export function kernelClock(interval: bigint): Clock {
  return interval >= COARSE_FROM ? ($) => $.ktimeGetCoarseNs() : ($) => $.ktimeGetNs();
}

/** A clock that stands still until user space sets it. */
export const settableClock = arrayMap('clock', { value: u64, maxEntries: 1, mmap: true });

export const clockFromMap: Clock = ($) => $.at(settableClock, 0).value;
