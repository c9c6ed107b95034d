import type { Builder, Int } from '../ebpf/language.ts';

/** The same number, of which the verifier forgets what it knew. */
export function unknown<R>(_$: Builder<R>, value: Int<32>): Int<32> {
  return value.forget();
}
