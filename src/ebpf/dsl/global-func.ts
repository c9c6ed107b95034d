import { Linkage, type ParameterType } from '../btf/btf.ts';
import type { Struct } from '../btf/type.ts';
import { DslError } from '../errors.ts';
import type { Operand } from '../ir/ir.ts';
import { CallSite } from '../source-location.ts';
import { BuilderCore } from './blocks.ts';
import { buildFunction } from './build-function.ts';
import { Builder } from './builder.ts';
import type { Callable } from './callable.ts';
import { type ContextLayout, Emitter } from './emitter.ts';
import { checkParameters, emitInvoke, type FuncReturn, resultBytes } from './func.ts';
import type { ContextValue } from './helper-arguments.ts';
import { Int, operandFor, UNKNOWN, type Width } from './int.ts';
import { addressRegister, memoryAt } from './memory.ts';
import { Packet } from './packet.ts';
import { isViewOf, memoryOf, type View, viewOf } from './view.ts';

/** What a global function can take: a number, memory that holds a struct, or the packet. */
export type GlobalParameter = Width | Struct | 'packet';

type ValueOf<P, R> = P extends Width ? Int<P> : P extends Struct<infer F> ? View<F> : Packet<R>;
type ArgumentOf<P> = P extends Width ? Int<P> | number | bigint : P extends Struct<infer F> ? View<F> : ContextValue;
type ValuesOf<P extends readonly GlobalParameter[], R> = { readonly [Index in keyof P]: ValueOf<P[Index], R> };
export type GlobalArguments<P extends readonly GlobalParameter[]> = {
  readonly [Index in keyof P]: ArgumentOf<P[Index]>;
};

/** A BPF function that the verifier checks once, by its signature, however many paths lead to it. */
export type GlobalFunc<
  P extends readonly GlobalParameter[] = readonly GlobalParameter[],
  W extends Width = Width,
> = Callable<GlobalArguments<P>, W>;

const signatureOf = (param: GlobalParameter, layout: ContextLayout): ParameterType => {
  if (param === 'packet') return { context: layout.type };
  return typeof param === 'number' ? 'number' : param;
};

/**
 * Defines a BPF function with global linkage: the verifier walks it once, knowing nothing of its arguments but their kinds, and takes its result
 * for any number; a `func` it walks anew on every path that calls it. Up to five parameters: numbers, memory (which is a struct of the caller's frame, of
 * a map or of the packet; the function may write to it), and the packet, whose cursor stands at the start of the frame. Linux 5.13 for memory.
 */
export function globalFunc<const P extends readonly GlobalParameter[], const W extends Width>(
  name: string,
  params: P,
  result: W,
  body: ($: Builder<Int<W> | number>, ...args: ValuesOf<P, Int<W> | number>) => FuncReturn<W>,
): GlobalFunc<P, W> {
  checkParameters(name, params);
  const fn: GlobalFunc<P, W> = {
    name,
    call: (emitter, args) => {
      const { context } = emitter;
      buildFunction(emitter, fn, () => {
        const parameters = params.map((param) => signatureOf(param, context.layout));
        const inner = new Emitter(name, { parameters, result: resultBytes(result), linkage: Linkage.GLOBAL }, context);
        const core = new BuilderCore<Int<W> | number>(inner, (value) => {
          inner.exit(operandFor(inner, result, value));
        });
        const values = params.map((param, index) => valueOf(core, param, inner.fn.params[index]!));
        return { core, body: () => body(new Builder(core), ...(values as ValuesOf<P, Int<W> | number>)) };
      });
      const operands = params.map((param, index) => operandOf(emitter, name, param, args[index]));
      return emitInvoke(emitter, name, operands, result);
    },
  };
  return fn;
}

/** What the function has of a parameter. */
function valueOf<W extends Width>(
  core: BuilderCore<Int<W> | number>,
  param: GlobalParameter,
  register: number,
): unknown {
  if (param === 'packet') return new Packet(core, register);
  const { emitter } = core;
  if (typeof param === 'number') return new Int(emitter, param, register, UNKNOWN);
  refuseNull(core, register);
  return viewOf(memoryAt(emitter, register, param.name), param);
}

/** What the caller hands over for a parameter. */
function operandOf(emitter: Emitter, name: string, param: GlobalParameter, value: unknown): Operand {
  if (param === 'packet') return (value as ContextValue).context;
  if (typeof param === 'number') return operandFor(emitter, param, value as Int | number);
  if (isViewOf(param, value)) return addressRegister(memoryOf(value));
  throw new DslError(`call ${name}: it takes a view of struct ${param.name}, and of no other`, new CallSite().location);
}

/** The verifier takes every pointer of a global function for one that may be null; nobody who calls it here gives such. */
function refuseNull<W extends Width>(core: BuilderCore<Int<W> | number>, pointer: number): void {
  const test = { kind: 'compare', compare: 'ne', width: 64, a: pointer, b: 0n } as const;
  core.either(
    test,
    () => {},
    () => 0,
    { openThen: true },
  );
}
