import { DslError } from '../errors.ts';
import type { Block as IrBlock, Operand } from '../ir/ir.ts';
import { CallSite } from '../source-location.ts';
import type { Emitter, Test } from './emitter.ts';
import { Exited } from './maybe.ts';

/** A stretch of program: what it returns leaves the program with that verdict; nothing falls through. */
export type Block<R> = () => R;

/** Branches and exits over verdicts of type `R`. */
export class BuilderCore<R> {
  readonly emitter: Emitter;
  readonly #verdict: (value: R) => { operand: Operand; note?: string };

  constructor(emitter: Emitter, verdict: (value: R) => { operand: Operand; note?: string }) {
    this.emitter = emitter;
    this.#verdict = verdict;
  }

  /** Ends the current path with what a block returned, if it returned a verdict. */
  finish(result: R | Exited | void): void {
    if (result === undefined) return;
    if (result instanceof Exited) {
      if (this.emitter.reachable)
        throw new DslError('return from block: it has not left on every path', new CallSite().location);
      return;
    }
    const { operand, note } = this.#verdict(result);
    this.emitter.exit(operand, note);
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
    const [thenBlock, otherBlock, join] = [emitter.block(), emitter.block(), emitter.block()];
    const reachable = emitter.reachable;
    const states = emitter.states.map((state) => state.save());
    emitter.branch(test, thenBlock, otherBlock);

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

    const ends: { block: IrBlock; states: unknown[] }[] = [];
    const run = (block: IrBlock, body: Block<R | Exited | void>): void => {
      emitter.place(block, reachable);
      emitter.states.forEach((state, index) => {
        state.restore(states[index]);
      });
      emitter.scoped(() => {
        this.finish(body());
      });
      if (!emitter.reachable) return;
      ends.push({ block: emitter.current, states: emitter.states.map((state) => state.save()) });
      emitter.jump(join);
    };
    run(thenBlock, then);
    run(otherBlock, otherwise ?? ((): void => {}));
    emitter.place(join, reachable && ends.length > 0);
    emitter.states.forEach((state, index) => {
      const saved = ends.map((end) => ({ block: end.block, state: end.states[index] }));
      if (saved.length > 0) state.merge(saved);
      else state.restore(states[index]);
    });
    return ends.length === 0 ? new Exited() : undefined;
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
