import type { Emitter } from './emitter.ts';
import type { Kind, ValueOf } from './kind.ts';

/** What `$.invoke` calls: a BPF function that knows how to build itself into a program. `K` is the kind of its result. */
export interface Callable<Arguments extends readonly unknown[] = readonly never[], K extends Kind = Kind> {
  readonly name: string;
  /** Emits the call, and the function itself where the program does not have it yet. */
  call(emitter: Emitter, args: Arguments): ValueOf<K>;
}
