import { DslError } from '../errors.ts';
import { CallSite } from '../source-location.ts';
import type { BuilderCore } from './blocks.ts';
import type { Condition } from './condition.ts';
import { Int, type IntVariable } from './int.ts';
import type { Exited } from './maybe.ts';

/** What a loop's body can do beside running to its end. */
export interface LoopControl {
  /** Ends the loop where the condition holds. */
  breakIf(condition: Condition): void;
  /** Ends the loop. */
  break(): void;
  /** Goes on with the next round where the condition holds. */
  continueIf(condition: Condition): void;
}

/** Emits a loop that counts up to `times` in `counter`, which begins with zero; the body comes before the test. */
export function emitLoop<R>(
  core: BuilderCore<R>,
  counter: IntVariable<32>,
  times: number,
  body: (round: Int<32>, loop: LoopControl) => R | Exited | void,
): void {
  if (!Number.isInteger(times) || times < 1) {
    throw new DslError(`loop ${String(times)} times: give a whole number from 1 on`, new CallSite().location);
  }
  const { emitter } = core;
  const reachable = emitter.reachable;
  const leaveRound = emitter.states.map((state) => state.enterLoop());
  const atHead = emitter.states.map((state) => state.save());
  const settleStates = (): void => {
    for (const settle of leaveRound) settle();
  };
  const done = emitter.block();
  emitter.looped(() => {
    const [head, latch] = [emitter.block(), emitter.block()];
    emitter.jump(head);
    emitter.place(head, reachable);
    const leaveTo = (target: typeof done, condition: Condition): void => {
      const [edge, on] = [emitter.block(), emitter.block()];
      emitter.branch(condition.consume(emitter), edge, on);
      emitter.place(edge, emitter.reachable);
      const states = emitter.states.map((state) => state.save());
      settleStates();
      emitter.jump(target);
      emitter.states.forEach((state, index) => {
        state.restore(states[index]);
      });
      emitter.place(on, emitter.reachable);
    };
    emitter.scoped(() => {
      const round = new Int(emitter, 32, counter.operand(), BigInt(times - 1));
      const control: LoopControl = {
        breakIf: (condition) => {
          leaveTo(done, condition);
        },
        break: () => {
          leaveTo(done, new Int(emitter, 32, 0n, 0n).eq(0));
        },
        continueIf: (condition) => {
          leaveTo(latch, condition);
        },
      };
      core.finish(body(round, control));
    });
    if (emitter.reachable) settleStates();
    emitter.jump(latch);
    emitter.place(latch, reachable);
    counter.set(counter.add(1));
    const again = counter.lt(times);
    emitter.branch(again.consume(emitter), head, done);
  });
  emitter.place(done, reachable);
  emitter.states.forEach((state, index) => {
    state.restore(atHead[index]);
  });
}
