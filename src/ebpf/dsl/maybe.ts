import type { Pending, Test } from './emitter.ts';
import type { Block, BuilderCore } from './blocks.ts';
import type { Exited } from './exited.ts';

/** What may be absent: a look-up, a header that may lie beyond the packet. It has no fields until the absence is dealt with. */
export class Maybe<T, R> {
  readonly #core: BuilderCore<R>;
  readonly #test: Test;
  readonly #make: () => T;
  readonly #pending: Pending;

  /** `test` tells whether it is there; `make` gives it, on the path where it is. */
  constructor(core: BuilderCore<R>, test: Test, make: () => T, what: string) {
    this.#core = core;
    this.#test = test;
    this.#make = make;
    this.#pending = core.emitter.expectUse(`${what} is never looked at; end it with .orExit(...) or .match(...)`);
  }

  /** Leaves with a verdict where it is absent, after running a block if one is given; goes on with the value. */
  orExit(absent: R | Block<R | Exited>): T {
    this.#core.emitter.used(this.#pending);
    const leave = typeof absent === 'function' ? (absent as Block<R | Exited>) : (): R => absent;
    let value: T | undefined;
    this.#core.either(
      this.#test,
      () => {
        value = this.#make();
      },
      leave,
      { openThen: true },
    );
    return value as T;
  }

  /** Runs one block where it is there and another where it is absent. Leaves where both give a verdict. */
  match(cases: { readonly some: (value: T) => R | Exited; readonly none: () => R | Exited }): Exited;
  match(cases: { readonly some: (value: T) => R | Exited | void; readonly none?: () => R | Exited | void }): void;
  match(cases: {
    readonly some: (value: T) => R | Exited | void;
    readonly none?: () => R | Exited | void;
  }): Exited | void {
    this.#core.emitter.used(this.#pending);
    return this.#core.either(this.#test, () => cases.some(this.#make()), cases.none);
  }
}
