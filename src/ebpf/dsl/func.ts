import { DslError } from '../errors.ts';
import { CallSite } from '../source-location.ts';
import { BuilderCore } from './blocks.ts';
import type { Builder } from './builder.ts';
import { Emitter } from './emitter.ts';
import { Int, operandFor, UNKNOWN, type Width } from './int.ts';
import type { Exited } from './maybe.ts';

type IntsOf<P extends readonly Width[]> = { readonly [Index in keyof P]: Int<P[Index] & Width> };
export type FuncArguments<P extends readonly Width[]> = {
  readonly [Index in keyof P]: Int<P[Index] & Width> | number | bigint;
};

/** A BPF function: compiled once a program, called with up to five numbers. A plain TypeScript function is a macro instead. */
export interface Func<P extends readonly Width[] = readonly Width[], W extends Width = Width> {
  readonly name: string;
  readonly params: P;
  readonly result: W;
  readonly body: ($: Builder<Int<W> | number>, ...args: IntsOf<P>) => Int<W> | number | Exited;
}

/** Defines a BPF function over numbers of the given widths. What its blocks return leaves the function. */
export function func<const P extends readonly Width[], const W extends Width>(
  name: string,
  params: P,
  result: W,
  body: ($: Builder<Int<W> | number>, ...args: IntsOf<P>) => Int<W> | number | Exited,
): Func<P, W> {
  if (params.length > 5) {
    throw new DslError(
      `define func ${name}: ${String(params.length)} parameters given, five fit into registers`,
      new CallSite().location,
    );
  }
  return { name, params, result, body };
}

const building = new WeakSet<Func>();

/** Calls a function, building it first where the program does not have it yet. */
export function callFunction<P extends readonly Width[], W extends Width>(
  emitter: Emitter,
  fn: Func<P, W>,
  args: FuncArguments<P>,
  builderOf: (core: BuilderCore<Int<W> | number>) => Builder<Int<W> | number>,
): Int<W> {
  const { functions } = emitter.context;
  if (building.has(fn as unknown as Func)) {
    throw new DslError(`call ${fn.name}: a function cannot call itself`, new CallSite().location);
  }
  if (!functions.has(fn.name)) {
    building.add(fn as unknown as Func);
    const inner = new Emitter(fn.name, fn.params.length, emitter.context);
    functions.set(fn.name, inner.fn);
    const core = new BuilderCore<Int<W> | number>(inner, (value) => ({ operand: operandFor(inner, fn.result, value) }));
    const params = fn.params.map((width, index) => new Int(inner, width, inner.fn.params[index]!, UNKNOWN));
    const result = fn.body(builderOf(core), ...(params as unknown as IntsOf<P>));
    finishBody(core, result, fn.name);
    building.delete(fn as unknown as Func);
  }
  const operands = fn.params.map((width, index) => operandFor(emitter, width, args[index] as Int | number));
  const dst = emitter.vreg();
  emitter.emit({ op: 'invoke', callee: fn.name, args: operands, dst, note: fn.name });
  return new Int(emitter, fn.result, dst, UNKNOWN);
}

/** Ends a function with what its body returned, and looks for what was forgotten. */
export function finishBody<R>(core: BuilderCore<R>, result: R | Exited, name: string): void {
  const { emitter } = core;
  if (result === undefined && emitter.reachable) {
    throw new DslError(`build ${name}: the body returned no verdict`, emitter.fn.site.location);
  }
  core.finish(result);
  // What comes after the last exit is never reached and has no end of its own.
  emitter.fn.blocks = emitter.fn.blocks.filter((block) => block.end !== undefined);
  emitter.checkLeftovers();
}
