import { DslError } from '../errors.ts';
import { CallSite } from '../source-location.ts';
import type { BuilderCore } from './blocks.ts';
import type { Test } from './emitter.ts';
import { Exited } from './exited.ts';
import { Int, Network, type NetworkWidth, type Width } from './int.ts';
import { Join } from './join.ts';

/** What a block of `$.when` can give. */
export type Choosable = Int | Network | { readonly [name: string]: Choosable };

/** The same as a value: of a variable, what it is where the block ends. */
export type Chosen<T> =
  T extends Int<infer W extends Width>
    ? Int<W>
    : T extends Network<infer W extends NetworkWidth>
      ? Network<W>
      : { readonly [Name in keyof T]: Chosen<T[Name]> };

const isNumber = (value: Choosable): value is Int | Network => value instanceof Int || value instanceof Network;

/** Emits both blocks, of which one runs, and gives what it brings. */
export function emitWhen<R>(
  core: BuilderCore<R>,
  test: Test,
  then: () => Choosable | Exited,
  otherwise: () => Choosable | Exited,
): Choosable {
  const join = new Join(core.emitter);
  let shape: Choosable | undefined;
  const arriving = (block: () => Choosable | Exited) => (): Exited => {
    const value = block();
    if (value instanceof Exited) return value;
    const keys = keysOf(value);
    if (shape && keysOf(shape) !== keys) {
      throw new DslError(`join values: one path brings ${keysOf(shape)} and another ${keys}`, new CallSite().location);
    }
    shape ??= value;
    join.arrive(numbersOf(value));
    return new Exited();
  };
  core.either(test, arriving(then), arriving(otherwise));
  const numbers = join.close();
  // Where both blocks left there is no value, and no path to use one.
  if (!shape) return new Int(core.emitter, 32, 0n);
  const unreached = numbersOf(shape).map((number) => new Int(core.emitter, number.width, 0n));
  return rebuilt(shape, (join.reached ? numbers : unreached).values());
}

/** The parts of a record, in an order of their own: blocks may name them in any. */
const partsOf = (value: Exclude<Choosable, Int | Network>): [string, Choosable][] =>
  Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));

const keysOf = (value: Choosable): string =>
  isNumber(value)
    ? 'a number'
    : `{ ${partsOf(value)
        .map(([name, of]) => (isNumber(of) ? name : `${name}: ${keysOf(of)}`))
        .join(', ')} }`;

const numbersOf = (value: Choosable): (Int | Network)[] =>
  isNumber(value) ? [value] : partsOf(value).flatMap(([, part]) => numbersOf(part));

function rebuilt(shape: Choosable, numbers: Iterator<Int | Network>): Choosable {
  if (isNumber(shape)) return numbers.next().value as Int | Network;
  return Object.fromEntries(partsOf(shape).map(([name, of]) => [name, rebuilt(of, numbers)]));
}
