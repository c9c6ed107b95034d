import { DslError } from '../errors.ts';
import type { Operand } from '../ir/ir.ts';
import { CallSite } from '../source-location.ts';
import { helpers } from '../uapi/helpers.gen.ts';
import type { BuilderCore } from './blocks.ts';
import { type AnyView, callbackAddress, type LoopStep, sharedState, stepCode } from './callback.ts';
import type { Emitter } from './emitter.ts';
import type { Exited } from './exited.ts';
import { Int } from './int.ts';

/** The most rounds of a bpf_loop (BPF_MAX_LOOPS, kernel/bpf/bpf_iter.c). */
const MAX_ROUNDS = 1 << 23;

/** Emits a call of bpf_loop. `body` gets the state where there is one. */
export function emitRepeat<S extends AnyView>(
  emitter: Emitter,
  count: Int<32> | number,
  state: S | undefined,
  body: (core: BuilderCore<LoopStep>, round: Int<32>, state: S | undefined) => LoopStep | Exited | void,
): Int<64> {
  if (typeof count === 'number' && !(Number.isInteger(count) && count >= 0 && count <= MAX_ROUNDS)) {
    throw new DslError(
      `repeat ${String(count)} times: give a whole number of at most ${String(MAX_ROUNDS)}`,
      new CallSite().location,
    );
  }
  const shared = state && sharedState(state);
  const rounds: Operand = count instanceof Int ? count.operandIn(emitter) : BigInt(count);
  const callback = callbackAddress<LoopStep>(emitter, {
    kind: 'repeat',
    parameters: ['number', shared?.type ?? 'number'],
    code: stepCode,
    body: (core, [round, context]) =>
      body(core, new Int(core.emitter, 32, round!), shared?.inside(core.emitter, context!)),
  });
  const dst = emitter.vreg();
  const args = [rounds, callback, shared?.address ?? 0n, 0n];
  emitter.emit({ op: 'call', helper: helpers.loop.id, args, dst, note: 'repeat' });
  return new Int(emitter, 64, dst);
}
