/** Functions that helpers of the kernel call back, by their address (BPF_PSEUDO_FUNC). */
import { Linkage, type ParameterType } from '../btf/btf.ts';
import { DslError } from '../errors.ts';
import type { Operand } from '../ir/ir.ts';
import { CallSite } from '../source-location.ts';
import { BuilderCore } from './blocks.ts';
import { buildFunction } from './build-function.ts';
import { watched } from './dropped-verdict.ts';
import { Emitter } from './emitter.ts';
import { Exited } from './exited.ts';
import { addressRegister, frameAlignment, type Memory, memoryAt } from './memory.ts';
import { memoryOf, structOf, viewOf } from './view.ts';

/** How a round of `$.repeat` or `$.forEach` ends. Only `LOOP` has such. */
export class LoopStep<Name extends string = string> {
  readonly name: Name;
  /** What the kernel reads: 1 ends the loop. */
  readonly code: 0 | 1;
  declare private readonly brand: 'loop step';

  constructor(name: Name, code: 0 | 1) {
    this.name = name;
    this.code = code;
    Object.freeze(this);
  }
}

/** What a block of `$.repeat` and `$.forEach` returns to leave the round: CONTINUE goes on with the next one, BREAK ends the loop. */
export const LOOP = watched('LOOP', {
  CONTINUE: new LoopStep('CONTINUE', 0),
  BREAK: new LoopStep('BREAK', 1),
} as const);

/** Any view of a struct. */
export interface AnyView {
  read(): object;
  ref(field: never): unknown;
}

interface Callback<R> {
  /** What its name begins with. */
  readonly kind: string;
  readonly parameters: readonly ParameterType[];
  /** Whether the kernel calls it later, from elsewhere. */
  readonly ownStack?: boolean;
  /** What the kernel is given for a value that the body returned. */
  readonly code: (value: R) => bigint;
  /** Where it comes to its end, the kernel is given 0. */
  readonly body: (core: BuilderCore<R>, parameters: readonly number[]) => R | Exited | void;
}

/** Builds a function for the kernel to call, and gives its address. Nothing of the functions around it can be used in it. */
export function callbackAddress<R>(caller: Emitter, callback: Callback<R>): Operand {
  const { kind, parameters, ownStack = false, code, body } = callback;
  const { functions } = caller.context;
  let number = 1;
  while (functions.has(`${kind}_${String(number)}`)) number++;
  const fn = { name: `${kind}_${String(number)}` };
  buildFunction(caller, fn, () => {
    const signature = { parameters, result: 4, linkage: Linkage.STATIC } as const;
    const emitter = new Emitter(fn.name, signature, caller.context, { ownStack });
    const core = new BuilderCore<R>(emitter, (value) => {
      emitter.exit(code(value));
    });
    const run = (): R | Exited => {
      const left = body(core, emitter.fn.params);
      if (left !== undefined) return left;
      if (emitter.reachable)
        emitter.onLine(() => {
          emitter.exit(0n);
        }, emitter.fn.site);
      return new Exited();
    };
    return { core, body: run };
  });
  const dst = caller.vreg();
  caller.emit({ op: 'function', dst, callee: fn.name });
  return dst;
}

/** The code of a step. @throws DslError for any other value. */
export function stepCode(step: LoopStep): bigint {
  if (step instanceof LoopStep) return BigInt(step.code);
  throw new DslError(
    `return from block: a value of type ${typeof step} ends no round; return LOOP.CONTINUE or LOOP.BREAK`,
    new CallSite().location,
  );
}

/** Memory that a callback shares with the function that it is made in: its address for the helper, its type, and the view in the callback. */
export function sharedState<S extends AnyView>(
  state: S,
): { readonly address: Operand; readonly type: ParameterType; readonly inside: (emitter: Emitter, base: number) => S } {
  const memory = memoryOf(state) as Memory | undefined;
  const aligned = memory && frameAlignment(memory);
  // The kernel takes nothing else for it (ARG_PTR_TO_STACK_OR_NULL, kernel/bpf/verifier.c).
  if (!memory || aligned === undefined) {
    throw new DslError(
      'share state with a callback: it has to lie in the frame; make it with $.stack(...)',
      new CallSite().location,
    );
  }
  const type = structOf(state);
  const { offset } = memory.address;
  const frameAlignmentOfBase = offset === 0 ? aligned : Math.min(aligned, offset & -offset);
  return {
    address: addressRegister(memory),
    type,
    inside: (emitter, base) => {
      const memory = { ...memoryAt(emitter, base, type.name), frameAlignment: frameAlignmentOfBase };
      return viewOf(memory, type) as unknown as S;
    },
  };
}
