import { DslError } from '../errors.ts';
import { CallSite } from '../source-location.ts';
import { helpers } from '../uapi/helpers.gen.ts';
import type { Emitter } from './emitter.ts';
import { addressRegister } from './memory.ts';
import { opaqueField } from './opaque-view.ts';
import type { ViewWith } from './view.ts';

/** Emits `body` between taking and releasing the lock of a map's value. */
export function emitLocked(emitter: Emitter, value: ViewWith<'bpf_spin_lock'>, body: () => void): void {
  const field = opaqueField(value, 'bpf_spin_lock', 'lock');
  const name = field.map!.name;
  if (emitter.held !== undefined) {
    throw new DslError(
      `lock a value of ${name}: one of ${emitter.held} is locked already, and a program holds one lock at a time`,
      new CallSite().location,
    );
  }
  const line = emitter.line();
  const args = emitter.onLine(() => [addressRegister(field)], line);
  const call = (helper: number, note: string): void => {
    emitter.onLine(() => {
      emitter.emit({ op: 'call', helper, args, note });
    }, line);
  };
  call(helpers.spin_lock.id, `lock ${name}`);
  emitter.holding(name, () => {
    emitter.withoutLeaving(
      `leave with a lock: the block leaves before the lock of ${name} is released; carry the outcome out with $.let`,
      body,
    );
  });
  call(helpers.spin_unlock.id, `unlock ${name}`);
}
