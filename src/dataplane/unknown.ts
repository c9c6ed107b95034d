import { arrayMap, type Builder, type Int, u32 } from '../ebpf/language.ts';

/**
 * Zero, where the verifier must not know that it is. It follows every path with the numbers that it knows there, so paths that
 * differ only in a number (how long a header was, how often a loop ran) multiply; numbers that it does not know are all alike.
 */
const unknownZero = arrayMap('zero', { value: u32, maxEntries: 1 });

/** The same number, of which the verifier forgets what it knew. */
export function unknown<R>($: Builder<R>, value: Int<32>): Int<32> {
  // Loaded anew each time: copies of one load are linked, and what is learned of one is learned of all.
  return $.at(unknownZero, 0).value.xor(value);
}
