import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { transact } from './transaction.ts';

/** Runs a change of `count` steps; step `failing` throws, and the undoing of steps in `stuck`. */
function change(count: number, failing: number | undefined, stuck: ReadonlySet<number> = new Set()) {
  const log: string[] = [];
  let inForce = 'before';
  let error: unknown;
  try {
    transact(
      (transaction) => {
        for (let index = 0; index < count; index++) {
          transaction.afterwards(() => log.push(`release ${String(index)}`));
          transaction.step(
            () => {
              if (index === failing) throw new Error(`step ${String(index)} failed`);
              log.push(`do ${String(index)}`);
              return index;
            },
            (made) => {
              log.push(`undo ${String(made)}`);
              if (stuck.has(made)) throw new Error(`undo ${String(made)} failed`);
            },
          );
        }
        return 'after';
      },
      (made) => {
        inForce = made;
      },
    );
  } catch (caught) {
    error = caught;
  }
  return { log, inForce, error };
}
const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

describe('transact', () => {
  it('does every step, commits, and only then lets go', () => {
    const { log, inForce, error } = change(3, undefined);
    expect(log).toEqual(['do 0', 'do 1', 'do 2', 'release 0', 'release 1', 'release 2']);
    expect([inForce, error]).toEqual(['after', undefined]);
  });

  it('undoes what was done, in reverse, whichever step fails and whatever else does', () => {
    const steps = fc.integer({ min: 1, max: 8 });
    const run = fc.tuple(steps, fc.nat(7), fc.uniqueArray(fc.nat(7)));
    fc.assert(
      fc.property(run, ([count, at, stuckAt]) => {
        const failing = at % count;
        const stuck = new Set(stuckAt.filter((index) => index < failing));
        const { log, inForce, error } = change(count, failing, stuck);
        const done = upTo(failing);
        expect(log).toEqual([
          ...done.map((index) => `do ${String(index)}`),
          ...done.toReversed().map((index) => `undo ${String(index)}`),
        ]);
        expect(inForce).toBe('before');
        expect((error as Error).message).toMatch(new RegExp(`^step ${String(failing)} failed`));
        const suppressed = (error as { suppressed?: Error[] }).suppressed ?? [];
        expect(suppressed.map(({ message }) => message)).toEqual(
          [...stuck].toSorted((a, b) => b - a).map((index) => `undo ${String(index)} failed`),
        );
      }),
    );
  });

  it('stands, and lets go of the rest, where something cannot be let go', () => {
    const released: string[] = [];
    const reported: unknown[] = [];
    const made = transact(
      (transaction) => {
        transaction.afterwards(() => {
          throw new Error('busy');
        });
        transaction.afterwards(() => released.push('second'));
        return 1;
      },
      () => {},
      (failure) => reported.push(failure),
    );
    expect([made, released, reported]).toEqual([1, ['second'], [new Error('busy')]]);
  });

  it('disposes of what it owns where a later step fails, and not otherwise', () => {
    let disposed = 0;
    const thing = (): Disposable => ({ [Symbol.dispose]: () => disposed++ });
    transact((transaction) => transaction.own(thing));
    expect(disposed).toBe(0);
    expect(() =>
      transact((transaction) => {
        transaction.own(thing);
        throw new RangeError('later');
      }),
    ).toThrow(RangeError);
    expect(disposed).toBe(1);
  });
});
