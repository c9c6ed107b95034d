import { Linkage } from '../btf/btf.ts';
import { DslError } from '../errors.ts';
import type { Operand } from '../ir/ir.ts';
import { checkIdentifier } from '../identifier.ts';
import { CallSite } from '../source-location.ts';
import { BuilderCore } from './blocks.ts';
import { buildFunction } from './build-function.ts';
import { Builder } from './builder.ts';
import type { Callable } from './callable.ts';
import { Emitter } from './emitter.ts';
import type { Exited } from './exited.ts';
import { operandFor } from './int.ts';
import { type AnyGiven, type GivenFor, type Kind, numberOf, valueIn, type ValueOf, widthOf } from './kind.ts';

type ValuesOf<P extends readonly Kind[]> = { readonly [Index in keyof P]: ValueOf<P[Index]> };
export type FuncArguments<P extends readonly Kind[]> = { readonly [Index in keyof P]: GivenFor<P[Index]> };

/** What the body of a function ends with. */
export type FuncReturn<K extends Kind> = GivenFor<K> | Exited;

/** A BPF function: compiled once a program, called with up to five numbers or members of enums. A plain TypeScript function is a macro instead. */
export type Func<P extends readonly Kind[] = readonly Kind[], K extends Kind = Kind> = Callable<FuncArguments<P>, K>;

/** @throws DslError for a name that the kernel refuses, and for more than the calling convention has registers for. */
export function checkParameters(name: string, params: readonly unknown[]): void {
  checkIdentifier('func', name);
  if (params.length <= 5) return;
  throw new DslError(
    `define func ${name}: ${String(params.length)} parameters given, five fit into registers`,
    new CallSite().location,
  );
}

/** Bytes of a result in the type that the kernel is told. */
export const resultBytes = (kind: Kind): 4 | 8 => (kind === 64 ? 8 : 4);

/** The operand for a parameter or a result. */
export const operandOf = (emitter: Emitter, kind: Kind, given: unknown): Operand =>
  operandFor(emitter, widthOf(kind), numberOf(given as AnyGiven));

/** The core of a function that gives a value of this kind: what its blocks return leaves it. */
export const functionCore = <K extends Kind>(inner: Emitter, result: K): BuilderCore<GivenFor<K>> =>
  new BuilderCore<GivenFor<K>>(inner, (value) => {
    inner.exit(operandOf(inner, result, value));
  });

/** Emits the call of a function that the program has. */
export function emitInvoke<K extends Kind>(
  emitter: Emitter,
  name: string,
  args: readonly Operand[],
  result: K,
): ValueOf<K> {
  const dst = emitter.vreg();
  emitter.emit({ op: 'invoke', callee: name, args, dst, note: name });
  if (emitter.context.functions.get(name)?.emitter.changesPacket) emitter.voidPackets();
  return valueIn(emitter, result, dst);
}

/** Defines a BPF function over numbers of the given widths and members of enums. What its blocks return leaves the function. */
export function func<const P extends readonly Kind[], const K extends Kind>(
  name: string,
  params: P,
  result: K,
  body: ($: Builder<GivenFor<K>>, ...args: ValuesOf<P>) => FuncReturn<K>,
): Func<P, K> {
  checkParameters(name, params);
  const fn: Func<P, K> = {
    name,
    call: (emitter, args) => {
      buildFunction(emitter, fn, () => {
        const signature = {
          parameters: params.map(() => 'number' as const),
          result: resultBytes(result),
          linkage: Linkage.STATIC,
        };
        const inner = new Emitter(name, signature, emitter.context);
        const core = functionCore(inner, result);
        const values = params.map((kind, index) => valueIn(inner, kind, inner.fn.params[index]!));
        return { core, body: () => body(new Builder(core), ...(values as unknown as ValuesOf<P>)) };
      });
      const operands = params.map((kind, index) => operandOf(emitter, kind, args[index]));
      return emitInvoke(emitter, name, operands, result);
    },
  };
  return fn;
}
