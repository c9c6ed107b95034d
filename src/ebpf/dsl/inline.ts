import { DslError } from '../errors.ts';
import { CallSite } from '../source-location.ts';
import { BuilderCore } from './blocks.ts';
import type { Emitter } from './emitter.ts';
import type { Exited } from './exited.ts';
import { Int, operandFor, type Width } from './int.ts';
import { Join } from './join.ts';

/** What an inline gives: a number of so many bits, or a record of numbers. */
export type Shape = Width | { readonly [name: string]: Width };

type Number<W extends Width> = Int<W> | number | bigint;

/** The result of an inline of this shape. */
export type Shaped<S extends Shape> = S extends Width
  ? Int<S>
  : { readonly [Name in keyof S]: Int<Extract<S[Name], Width>> };

/** What a block of an inline of this shape may return. */
export type Given<S extends Shape> = S extends Width
  ? Number<S>
  : { readonly [Name in keyof S]: Number<Extract<S[Name], Width>> };

/** Runs `body` with a core whose blocks come out behind it, with the value that they return. */
export function emitInline<S extends Shape>(
  emitter: Emitter,
  shape: S,
  body: (core: BuilderCore<Given<S>>) => Given<S> | Exited,
): Shaped<S> {
  const join = new Join(emitter);
  emitter.leavable((leaving) => {
    const core = new BuilderCore<Given<S>>(emitter, (value) => {
      leaving();
      join.arrive(valuesOf(emitter, shape, value));
    });
    emitter.scoped(() => {
      core.finish(body(core));
    });
    if (emitter.reachable) {
      throw new DslError('build inline: the body returned no value', new CallSite().location);
    }
  });
  const values = join.close() as Int[];
  const result = (width: Width, index: number): Int => values[index] ?? new Int(emitter, width, 0n);
  if (typeof shape === 'number') return result(shape, 0) as Shaped<S>;
  const entries = Object.entries(shape).map(([name, width], index) => [name, result(width, index)]);
  return Object.fromEntries(entries) as Shaped<S>;
}

function valuesOf<S extends Shape>(emitter: Emitter, shape: S, given: Given<S>): Int[] {
  if (typeof shape === 'number') return [valueOf(emitter, shape, given as Number<Width>)];
  return Object.entries(shape).map(([name, width]) =>
    valueOf(emitter, width, (given as Readonly<Record<string, Number<Width>>>)[name]!),
  );
}

function valueOf(emitter: Emitter, width: Width, given: Number<Width>): Int {
  if (!(given instanceof Int)) return new Int(emitter, width, operandFor(emitter, width, given));
  if (given.width === width) return given;
  throw new DslError(
    `leave inline: u${String(given.width)} given, u${String(width)} wanted; widen or narrow it`,
    new CallSite().location,
  );
}
