import type { Emitter } from './emitter.ts';
import type { Int, Width } from './int.ts';

/** What `$.invoke` calls: a BPF function that knows how to build itself into a program. */
export interface Callable<Arguments extends readonly unknown[] = readonly never[], W extends Width = Width> {
  readonly name: string;
  /** Emits the call, and the function itself where the program does not have it yet. */
  call(emitter: Emitter, args: Arguments): Int<W>;
}
