import { DslError } from '../errors.ts';
import { CallSite } from '../source-location.ts';
import { BuilderCore } from './blocks.ts';
import type { Emitter } from './emitter.ts';
import type { Exited } from './exited.ts';
import { Int, operandFor } from './int.ts';
import { Join } from './join.ts';
import { type AnyGiven, asKind, type GivenFor, isKind, type Kind, numberOf, type ValueOf, widthOf } from './kind.ts';

/** What an inline gives: one value, or a record of values. */
export type Shape = Kind | { readonly [name: string]: Kind };

/** The result of an inline of this shape. */
export type Shaped<S extends Shape> = S extends Kind ? ValueOf<S> : { readonly [Name in keyof S]: ValueOf<S[Name]> };

/** A result that a block of an inline of this shape may return. */
export type Given<S extends Shape> = S extends Kind ? GivenFor<S> : { readonly [Name in keyof S]: GivenFor<S[Name]> };

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
  const result = (kind: Kind, index: number): ValueOf<Kind> =>
    asKind(kind, values[index] ?? new Int(emitter, widthOf(kind), 0n));
  if (isKind(shape)) return result(shape, 0) as Shaped<S>;
  const entries = Object.entries(shape).map(([name, kind], index) => [name, result(kind, index)]);
  return Object.fromEntries(entries) as Shaped<S>;
}

function valuesOf<S extends Shape>(emitter: Emitter, shape: S, given: Given<S>): Int[] {
  if (isKind(shape)) return [valueOf(emitter, shape, given as AnyGiven)];
  return Object.entries(shape).map(([name, kind]) =>
    valueOf(emitter, kind, (given as Readonly<Record<string, AnyGiven>>)[name]!),
  );
}

function valueOf(emitter: Emitter, kind: Kind, given: AnyGiven): Int {
  const width = widthOf(kind);
  const number = numberOf(given);
  if (!(number instanceof Int)) return new Int(emitter, width, operandFor(emitter, width, number));
  if (number.width === width) return number;
  throw new DslError(
    `leave inline: u${String(number.width)} given, u${String(width)} wanted; widen or narrow it`,
    new CallSite().location,
  );
}
