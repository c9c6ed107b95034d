import { DslError } from '../errors.ts';
import type { Block as IrBlock } from '../ir/ir.ts';
import { CallSite } from '../source-location.ts';
import type { Emitter, Test } from './emitter.ts';
import { Exited } from './exited.ts';
import { Join } from './join.ts';

/** A block of a program: it leaves with the value that it returns; without one it falls through. */
export type Block<R> = () => R;

/** Branches, and ways out with values of type `R`: of a program, a function or an inline. */
export class BuilderCore<R> {
  readonly emitter: Emitter;
  readonly #leave: (value: R) => void;

  /** `leave` ends the current path with a value. */
  constructor(emitter: Emitter, leave: (value: R) => void) {
    this.emitter = emitter;
    this.#leave = leave;
  }

  /** Ends the current path with the value that a block returned, if it returned one. */
  finish(result: R | Exited | void): void {
    if (result === undefined) return;
    if (result instanceof Exited) {
      if (this.emitter.reachable)
        throw new DslError('return from block: it has not left on every path', new CallSite().location);
      return;
    }
    this.#leave(result);
  }

  /**
   * Runs `then` where the test holds and `otherwise` where it does not. With `openThen` the first block's values stay
   * usable afterwards, because the other one has to leave.
   */
  either(
    test: Test,
    then: Block<R | Exited | void>,
    otherwise: Block<R | Exited | void> | undefined,
    { openThen = false } = {},
  ): Exited | void {
    const { emitter } = this;
    if (test.kind === 'constant') {
      if (!openThen) return this.#settled(test.value ? then : otherwise);
      if (!test.value) this.finish(otherwise!());
      then();
      return;
    }
    const [thenBlock, otherBlock] = [emitter.block(), emitter.block()];
    const reachable = emitter.reachable;
    const states = emitter.states.map((state) => state.save());
    const line = emitter.line();
    emitter.onLine(() => emitter.branch(test, thenBlock, otherBlock), line);

    if (openThen) {
      // The other way leaves, so it can come first in the text and the values of this one stay in scope.
      emitter.place(otherBlock, reachable);
      emitter.scoped(() => {
        this.finish(otherwise!());
      });
      if (emitter.reachable && reachable) {
        throw new DslError('leave with orExit: the block returned no verdict', new CallSite().location);
      }
      emitter.states.forEach((state, index) => {
        state.restore(states[index]);
      });
      emitter.place(thenBlock, reachable);
      then();
      return;
    }

    const join = new Join(emitter);
    const run = (block: IrBlock, body: Block<R | Exited | void>): void => {
      emitter.place(block, reachable);
      emitter.states.forEach((state, index) => {
        state.restore(states[index]);
      });
      emitter.scoped(() => {
        this.finish(body());
      });
      emitter.onLine(() => join.arrive([]), line);
    };
    run(thenBlock, then);
    run(otherBlock, otherwise ?? ((): void => {}));
    join.close();
    return join.reached ? undefined : new Exited();
  }

  /** A branch that is decided while building: only the block that runs is emitted. */
  #settled(body: Block<R | Exited | void> | undefined): Exited | void {
    if (!body) return;
    this.emitter.scoped(() => {
      this.finish(body());
    });
    return this.emitter.reachable ? undefined : new Exited();
  }
}
