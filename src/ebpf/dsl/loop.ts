import { DslError } from '../errors.ts';
import type { Block as IrBlock } from '../ir/ir.ts';
import { CallSite } from '../source-location.ts';
import type { BuilderCore } from './blocks.ts';
import type { Condition } from './condition.ts';
import { Int, type IntVariable } from './int.ts';
import { Exited } from './exited.ts';

/** Exits of a loop's body. */
export interface LoopControl {
  /** Ends the loop where the condition holds. */
  breakIf(condition: Condition): void;
  /** Ends the loop; what follows in the block is never reached. */
  break(): Exited;
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
  if ((times as unknown) instanceof Int) {
    throw new DslError(
      'loop a value of the kernel times: how often is a number known while building; give the most that it can be, and end the loop with loop.breakIf(round.ge(count)), or write $.repeat',
      new CallSite().location,
    );
  }
  if (!Number.isInteger(times) || times < 1) {
    throw new DslError(`loop ${String(times)} times: give a whole number from 1 on`, new CallSite().location);
  }
  const { emitter } = core;
  const line = emitter.line();
  const reachable = emitter.reachable;
  const leaveRound = emitter.states.map((state) => state.enterLoop());
  const atHead = emitter.states.map((state) => state.save());
  const settleStates = (): void => {
    for (const settle of leaveRound) settle();
  };
  const done = emitter.block();
  const left = new Set<IrBlock>();
  let ended = false;
  emitter.looped((leaving) => {
    const [head, latch] = [emitter.block(), emitter.block()];
    emitter.onLine(() => emitter.jump(head), line);
    emitter.place(head, reachable);
    const leaveTo = (target: IrBlock): Exited => {
      if (ended) throw new DslError('leave loop: it has ended', new CallSite().location);
      leaving();
      if (emitter.reachable) {
        settleStates();
        left.add(target);
        emitter.jump(target);
        emitter.place(emitter.block(), false);
      }
      return new Exited();
    };
    const leaveIf = (target: IrBlock, condition: Condition): void => {
      emitter.onLine(() => core.either(condition.consume(emitter), () => leaveTo(target), undefined));
    };
    emitter.scoped(() => {
      const round = new Int(emitter, 32, counter.operand(), BigInt(times - 1));
      const control: LoopControl = {
        breakIf: (condition) => {
          leaveIf(done, condition);
        },
        break: () => leaveTo(done),
        continueIf: (condition) => {
          leaveIf(latch, condition);
        },
      };
      core.finish(body(round, control));
    });
    emitter.onLine(() => {
      leaveTo(latch);
      ended = true;
      emitter.place(latch, left.has(latch));
      counter.set(counter.add(1));
      const again = counter.lt(times);
      emitter.branch(again.consume(emitter), head, done);
    }, line);
  });
  emitter.place(done, left.size > 0);
  emitter.states.forEach((state, index) => {
    state.restore(atHead[index]);
  });
}
