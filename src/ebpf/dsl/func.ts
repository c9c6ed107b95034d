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
import { Int, operandFor, UNKNOWN, type Width } from './int.ts';
import type { Exited } from './exited.ts';

type IntsOf<P extends readonly Width[]> = { readonly [Index in keyof P]: Int<P[Index] & Width> };
export type FuncArguments<P extends readonly Width[]> = {
  readonly [Index in keyof P]: Int<P[Index] & Width> | number | bigint;
};

/** What the body of a function ends with. */
export type FuncReturn<W extends Width> = Int<W> | number | Exited;

/** A BPF function: compiled once a program, called with up to five numbers. A plain TypeScript function is a macro instead. */
export type Func<P extends readonly Width[] = readonly Width[], W extends Width = Width> = Callable<
  FuncArguments<P>,
  W
>;

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
export const resultBytes = (width: Width): 4 | 8 => (width === 64 ? 8 : 4);

/** Emits the call of a function that the program has. */
export function emitInvoke<W extends Width>(
  emitter: Emitter,
  name: string,
  args: readonly Operand[],
  result: W,
): Int<W> {
  const dst = emitter.vreg();
  emitter.emit({ op: 'invoke', callee: name, args, dst, note: name });
  if (emitter.context.functions.get(name)?.emitter.changesPacket) emitter.voidPackets();
  return new Int(emitter, result, dst, UNKNOWN);
}

/** Defines a BPF function over numbers of the given widths. What its blocks return leaves the function. */
export function func<const P extends readonly Width[], const W extends Width>(
  name: string,
  params: P,
  result: W,
  body: ($: Builder<Int<W> | number>, ...args: IntsOf<P>) => FuncReturn<W>,
): Func<P, W> {
  checkParameters(name, params);
  const fn: Func<P, W> = {
    name,
    call: (emitter, args) => {
      buildFunction(emitter, fn, () => {
        const signature = {
          parameters: params.map(() => 'number' as const),
          result: resultBytes(result),
          linkage: Linkage.STATIC,
        };
        const inner = new Emitter(name, signature, emitter.context);
        const core = new BuilderCore<Int<W> | number>(inner, (value) => {
          inner.exit(operandFor(inner, result, value));
        });
        const values = params.map((width, index) => new Int(inner, width, inner.fn.params[index]!, UNKNOWN));
        return { core, body: () => body(new Builder(core), ...(values as unknown as IntsOf<P>)) };
      });
      const operands = params.map((width, index) => operandFor(emitter, width, args[index] as Int | number));
      return emitInvoke(emitter, name, operands, result);
    },
  };
  return fn;
}
