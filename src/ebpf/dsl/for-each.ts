import type { Type } from '../btf/type.ts';
import { helpers } from '../uapi/helpers.gen.ts';
import type { BuilderCore } from './blocks.ts';
import { type AnyView, callbackAddress, type LoopStep, sharedState, stepCode } from './callback.ts';
import type { Emitter } from './emitter.ts';
import type { Exited } from './exited.ts';
import { Int } from './int.ts';
import { type MapValue, mapValue } from './map-value.ts';
import type { MapSpec } from './map.ts';
import { memoryAt } from './memory.ts';
import { snapshot, type Snapshot } from './view.ts';

/** An entry of a map in a callback. The key is a copy; the value is the one in the map. */
export interface Entry<K extends Type, V extends Type> {
  readonly key: Snapshot<K>;
  readonly value: MapValue<V>;
}

/** The entry that a callback of the kernel was given: pointers to key and value. */
export function entryAt<K extends Type, V extends Type>(
  emitter: Emitter,
  map: MapSpec<K, V>,
  key: number,
  value: number,
): Entry<K, V> {
  return {
    key: snapshot(memoryAt(emitter, key, `${map.name} key`), map.key!) as Snapshot<K>,
    value: mapValue(memoryAt(emitter, value, map.name, map), map.value!),
  };
}

/** Emits a call of bpf_for_each_map_elem. `body` gets the state where there is one. */
export function emitForEach<K extends Type, V extends Type, S extends AnyView>(
  emitter: Emitter,
  map: MapSpec<K, V>,
  state: S | undefined,
  body: (core: BuilderCore<LoopStep>, entry: Entry<K, V>, state: S | undefined) => LoopStep | Exited | void,
): Int<64> {
  const shared = state && sharedState(state);
  const callback = callbackAddress<LoopStep>(emitter, {
    kind: 'for_each',
    parameters: [{ context: 'any' }, { context: 'any' }, { context: 'any' }, shared?.type ?? 'number'],
    code: stepCode,
    body: (core, [_map, key, value, context]) =>
      body(core, entryAt(core.emitter, map, key!, value!), shared?.inside(core.emitter, context!)),
  });
  const dst = emitter.vreg();
  const args = [emitter.mapPointer(map), callback, shared?.address ?? 0n, 0n];
  emitter.emit({ op: 'call', helper: helpers.for_each_map_elem.id, args, dst, note: `for each of ${map.name}` });
  return new Int(emitter, 64, dst);
}
