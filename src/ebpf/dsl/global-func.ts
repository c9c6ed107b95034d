import { Linkage, type ParameterType } from '../btf/btf.ts';
import type { Struct } from '../btf/type.ts';
import { DslError } from '../errors.ts';
import type { Operand } from '../ir/ir.ts';
import { CallSite } from '../source-location.ts';
import type { BuilderCore } from './blocks.ts';
import { buildFunction } from './build-function.ts';
import { Builder } from './builder.ts';
import type { Callable } from './callable.ts';
import { type ContextLayout, Emitter } from './emitter.ts';
import { Exited } from './exited.ts';
import { checkParameters, emitInvoke, functionCore, type FuncReturn, operandOf, resultBytes } from './func.ts';
import type { ContextValue } from './helper-arguments.ts';
import { type GivenFor, isKind, type Kind, valueIn, type ValueOf } from './kind.ts';
import { addressRegister, memoryAt } from './memory.ts';
import { Packet } from './packet.ts';
import { isViewOf, memoryOf, type View, viewOf } from './view.ts';

/** A parameter of a global function: a number, a member of an enum, memory that holds a struct, or the packet. */
export type GlobalParameter = Kind | Struct | 'packet';

type Inside<P, R> = P extends Kind ? ValueOf<P> : P extends Struct<infer F> ? View<F> : Packet<R>;
type ArgumentOf<P> = P extends Kind ? GivenFor<P> : P extends Struct<infer F> ? View<F> : ContextValue;
type ValuesOf<P extends readonly GlobalParameter[], R> = { readonly [Index in keyof P]: Inside<P[Index], R> };
export type GlobalArguments<P extends readonly GlobalParameter[]> = {
  readonly [Index in keyof P]: ArgumentOf<P[Index]>;
};

/** A BPF function that the verifier checks once, by its signature, however many paths lead to it. */
export type GlobalFunc<
  P extends readonly GlobalParameter[] = readonly GlobalParameter[],
  K extends Kind = Kind,
> = Callable<GlobalArguments<P>, K>;

const signatureOf = (param: GlobalParameter, layout: ContextLayout): ParameterType => {
  if (param === 'packet') return { context: layout.type };
  return isKind(param) ? 'number' : param;
};

/**
 * Defines a BPF function with global linkage: the verifier walks it once, knowing nothing of its arguments but their kinds, and takes its result
 * for any number; a `func` it walks anew on every path that calls it. Up to five parameters: numbers, members of enums, memory (which is a struct of the caller's frame, of
 * a map or of the packet; the function may write to it), and the packet, whose cursor stands at the start of the frame. Linux 5.13 for memory.
 */
export function globalFunc<const P extends readonly GlobalParameter[], const K extends Kind>(
  name: string,
  params: P,
  result: K,
  body: ($: Builder<GivenFor<K>>, ...args: ValuesOf<P, GivenFor<K>>) => FuncReturn<K>,
): GlobalFunc<P, K> {
  checkParameters(name, params);
  const fn: GlobalFunc<P, K> = {
    name,
    call: (emitter, args) => {
      const { context } = emitter;
      buildFunction(emitter, fn, () => {
        const parameters = params.map((param) => signatureOf(param, context.layout));
        const inner = new Emitter(name, { parameters, result: resultBytes(result), linkage: Linkage.GLOBAL }, context);
        const core = functionCore(inner, result);
        const values = params.map((param, index) => insideOf(core, param, inner.fn.params[index]!));
        return { core, body: () => body(new Builder(core), ...(values as ValuesOf<P, GivenFor<K>>)) };
      });
      const operands = params.map((param, index) => argumentOf(emitter, name, param, args[index]));
      return emitInvoke(emitter, name, operands, result);
    },
  };
  return fn;
}

/** What the function has of a parameter. */
function insideOf<R>(core: BuilderCore<R>, param: GlobalParameter, register: number): unknown {
  if (param === 'packet') return new Packet(core, register);
  const { emitter } = core;
  if (isKind(param)) return valueIn(emitter, param, register);
  refuseNull(core, register);
  return viewOf(memoryAt(emitter, register, param.name), param);
}

/** What the caller hands over for a parameter. */
function argumentOf(emitter: Emitter, name: string, param: GlobalParameter, value: unknown): Operand {
  if (param === 'packet') return (value as ContextValue).context;
  if (isKind(param)) return operandOf(emitter, param, value);
  if (isViewOf(param, value)) return addressRegister(memoryOf(value));
  throw new DslError(`call ${name}: it takes a view of struct ${param.name}, and of no other`, new CallSite().location);
}

/** The verifier assumes that a pointer parameter of a global function may be null; callers here never pass null. */
function refuseNull<R>(core: BuilderCore<R>, pointer: number): void {
  const { emitter } = core;
  const test = { kind: 'compare', compare: 'ne', width: 64, a: pointer, b: 0n } as const;
  const leave = (): Exited => {
    emitter.exit(0n);
    return new Exited();
  };
  core.either(test, () => {}, leave, { openThen: true });
}
