import type { Type } from '../btf/type.ts';
import { DslError } from '../errors.ts';
import type { Operand } from '../ir/ir.ts';
import { CallSite } from '../source-location.ts';
import { helpers } from '../uapi/helpers.gen.ts';
import type { BuilderCore } from './blocks.ts';
import { callbackAddress } from './callback.ts';
import type { Emitter } from './emitter.ts';
import type { Exited } from './exited.ts';
import { type Entry, entryAt } from './for-each.ts';
import { Int } from './int.ts';
import type { MapSpec } from './map.ts';
import { addressRegister, type Memory } from './memory.ts';
import { opaqueField } from './opaque-view.ts';
import type { ViewWith } from './view.ts';

/** `CLOCK_MONOTONIC` (linux/time.h). */
const CLOCK_MONOTONIC = 1n;

type TimerCall = 'timer_init' | 'timer_set_callback' | 'timer_start' | 'timer_cancel';

function call(emitter: Emitter, name: TimerCall, timer: Memory, ...args: readonly Operand[]): Int<64> {
  const dst = emitter.vreg();
  const all = [addressRegister(timer), ...args];
  emitter.emit({ op: 'call', helper: helpers[name].id, args: all, dst, note: `${name} ${timer.name}` });
  return new Int(emitter, 64, dst);
}

const delay = (emitter: Emitter, nanoseconds: Int<64> | number | bigint): Operand =>
  nanoseconds instanceof Int ? nanoseconds.operandIn(emitter) : BigInt(nanoseconds);

/** Emits what gives a timer its function and starts it. */
export function emitStartTimer<K extends Type, V extends Type>(
  emitter: Emitter,
  map: MapSpec<K, V>,
  value: ViewWith<'bpf_timer'>,
  nanoseconds: Int<64> | number | bigint,
  body: (core: BuilderCore<0>, entry: Entry<K, V>) => 0 | Exited | void,
): Int<64> {
  const timer = opaqueField(value, 'bpf_timer', 'start the timer of');
  if (timer.map !== map) {
    throw new DslError(
      `start the timer of ${timer.name}: the value is one of ${timer.map!.name}, and ${map.name} was given`,
      new CallSite().location,
    );
  }
  return emitter.onLine(() => {
    // One that has been initialised stays so: the helper says -EBUSY.
    call(emitter, 'timer_init', timer, emitter.mapPointer(map), CLOCK_MONOTONIC);
    const callback = callbackAddress<0>(emitter, {
      kind: 'timer',
      parameters: [{ context: 'any' }, { context: 'any' }, { context: 'any' }],
      ownStack: true,
      code: () => 0n,
      body: (core, [_map, key, entry]) => body(core, entryAt(core.emitter, map, key!, entry!)),
    });
    call(emitter, 'timer_set_callback', timer, callback);
    return call(emitter, 'timer_start', timer, delay(emitter, nanoseconds), 0n);
  });
}

export function emitRestartTimer(
  emitter: Emitter,
  value: ViewWith<'bpf_timer'>,
  nanoseconds: Int<64> | number | bigint,
): Int<64> {
  const timer = opaqueField(value, 'bpf_timer', 'restart the timer of');
  return emitter.onLine(() => call(emitter, 'timer_start', timer, delay(emitter, nanoseconds), 0n));
}

export function emitCancelTimer(emitter: Emitter, value: ViewWith<'bpf_timer'>): Int<64> {
  const timer = opaqueField(value, 'bpf_timer', 'cancel the timer of');
  return emitter.onLine(() => call(emitter, 'timer_cancel', timer));
}
