import { DslError } from '../errors.ts';
import { CallSite } from '../source-location.ts';
import type { BuilderCore } from './blocks.ts';
import type { Emitter, Test } from './emitter.ts';
import { EnumMember, EnumValue } from './enum.ts';
import { Exited } from './exited.ts';
import { Int, Network, type NetworkWidth, type Width } from './int.ts';
import { Join } from './join.ts';

type Leaf = Int | Network | EnumValue | EnumMember;

/** A result of a block of `$.when`. */
export type Choosable = Leaf | { readonly [name: string]: Choosable };

/** The same as a value: of a variable, the value that it has at the end of the block. */
export type Chosen<T> =
  T extends Int<infer W extends Width>
    ? Int<W>
    : T extends Network<infer W extends NetworkWidth>
      ? Network<W>
      : T extends EnumValue<infer N> | EnumMember<infer N>
        ? EnumValue<N>
        : { readonly [Name in keyof T]: Chosen<T[Name]> };

/** What the other block can give then. */
export type Alike<T> = T extends Int | Network
  ? Chosen<T>
  : T extends EnumValue<infer N> | EnumMember<infer N>
    ? EnumValue<N> | EnumMember<N>
    : { readonly [Name in keyof T]: Alike<T[Name]> };

const isLeaf = (value: Choosable): value is Leaf => value instanceof Int || value instanceof Network || isEnum(value);
const isEnum = (value: Choosable): value is EnumValue | EnumMember =>
  value instanceof EnumValue || value instanceof EnumMember;

/** Emits both blocks, of which one runs, and gives its result. */
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
    join.arrive(numbersOf(core.emitter, value));
    return new Exited();
  };
  core.either(test, arriving(then), arriving(otherwise));
  const numbers = join.close();
  // If both blocks left, there is no value, and no path could use one.
  if (!shape) return new Int(core.emitter, 32, 0n);
  const unreached = numbersOf(core.emitter, shape).map((number) => new Int(core.emitter, number.width, 0n));
  return rebuilt(shape, (join.reached ? numbers : unreached).values());
}

/** The parts of a record, in an order of their own: blocks may name them in any. */
const partsOf = (value: Exclude<Choosable, Leaf>): [string, Choosable][] =>
  Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));

function keysOf(value: Choosable): string {
  if (isEnum(value)) return `a value of enum ${value.enum}`;
  if (isLeaf(value)) return 'a number';
  const parts = partsOf(value).map(([name, of]) => (isLeaf(of) && !isEnum(of) ? name : `${name}: ${keysOf(of)}`));
  return `{ ${parts.join(', ')} }`;
}

function numbersOf(emitter: Emitter, value: Choosable): (Int | Network)[] {
  if (value instanceof EnumMember) return [new Int(emitter, 32, BigInt(value.number))];
  if (value instanceof EnumValue) return [value.u32()];
  return isLeaf(value) ? [value] : partsOf(value).flatMap(([, part]) => numbersOf(emitter, part));
}

function rebuilt(shape: Choosable, numbers: Iterator<Int | Network>): Choosable {
  if (isEnum(shape)) return new EnumValue(shape.enum, numbers.next().value as Int<32>);
  if (isLeaf(shape)) return numbers.next().value as Int | Network;
  return Object.fromEntries(partsOf(shape).map(([name, of]) => [name, rebuilt(of, numbers)]));
}
