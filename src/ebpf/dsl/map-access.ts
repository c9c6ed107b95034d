/** Access to maps by a program: look-ups, writes, removals. */
import type { Type } from '../btf/type.ts';
import { DslError } from '../errors.ts';
import type { Operand } from '../ir/ir.ts';
import { CallSite } from '../source-location.ts';
import { helpers } from '../uapi/helpers.gen.ts';
import type { BuilderCore } from './blocks.ts';
import type { Emitter } from './emitter.ts';
import { type Found, foundIn } from './found.ts';
import { Int } from './int.ts';
import { type KindsFor, requireKind } from './map-kind.ts';
import { type NotFound, refuseFound } from './map-of-maps.ts';
import { type MapValue, mapValue } from './map-value.ts';
import type { MapSpec } from './map.ts';
import { Maybe } from './maybe.ts';
import { addressRegister, type Memory, memoryAt } from './memory.ts';
import { type ElementOf, isViewOf, memoryOf, writeType } from './view.ts';
import { zeroTheRest } from './zeros.ts';

/** A pointer that the kernel gave, where it is not null. */
export const maybePointer = <T, R>(core: BuilderCore<R>, pointer: number, what: string, make: () => T): Maybe<T, R> =>
  new Maybe(core, { kind: 'compare', compare: 'ne', width: 64, a: pointer, b: 0n }, make, what);

export function lookUp<K extends Type, V extends Type, R>(
  core: BuilderCore<R>,
  map: MapSpec<K, V, KindsFor<'look up in'>>,
  key: ElementOf<K>,
): Maybe<Found<V>, R> {
  requireKind(map, 'look up in');
  const { emitter } = core;
  const dst = emitter.vreg();
  withKey(emitter, map, key, (pointer) => {
    const args = [emitter.mapPointer(map), pointer];
    emitter.emit({ op: 'call', helper: helpers.map_lookup_elem.id, args, dst, note: `look up ${map.name}` });
  });
  return maybePointer(core, dst, `the result of looking up ${map.name}`, () => foundIn(emitter, map, dst));
}

export function placeOf<V extends Type>(
  emitter: Emitter,
  map: MapSpec<Type, V, KindsFor<'take the place of'>> & NotFound,
  index: number,
): MapValue<V> {
  requireKind(map, 'take the place of');
  refuseFound(map, 'take the place of');
  // array_map_direct_value_addr, kernel/bpf/arraymap.c: the kernel knows the address of an only entry, and of no other.
  if (map.maxEntries !== 1 || index !== 0) {
    throw new DslError(
      `use ${map.name} at ${String(index)}: it has ${String(map.maxEntries)} entries, and only the one of an array of one entry has a fixed place; look others up`,
      new CallSite().location,
    );
  }
  emitter.useMap(map);
  const dst = emitter.vreg();
  emitter.emit({ op: 'mapValue', dst, map: map.name, offset: 0 });
  return mapValue(memoryAt(emitter, dst, map.name, map), map.value!);
}

export function updateMap<K extends Type, V extends Type>(
  emitter: Emitter,
  map: MapSpec<K, V, KindsFor<'update'>>,
  key: ElementOf<K>,
  value: ElementOf<V>,
  flag: number,
): Int<64> {
  requireKind(map, 'update');
  const dst = emitter.vreg();
  withKey(emitter, map, key, (keyPointer) => {
    inFrame(emitter, map.value!, value, map.name, (valuePointer) => {
      const args = [emitter.mapPointer(map), keyPointer, valuePointer, BigInt(flag)];
      emitter.emit({ op: 'call', helper: helpers.map_update_elem.id, args, dst, note: `update ${map.name}` });
    });
  });
  return new Int(emitter, 64, dst);
}

export function deleteFrom<K extends Type>(
  emitter: Emitter,
  map: MapSpec<K, Type, KindsFor<'delete from'>>,
  key: ElementOf<K>,
): Int<64> {
  requireKind(map, 'delete from');
  const dst = emitter.vreg();
  withKey(emitter, map, key, (pointer) => {
    const args = [emitter.mapPointer(map), pointer];
    emitter.emit({ op: 'call', helper: helpers.map_delete_elem.id, args, dst, note: `delete from ${map.name}` });
  });
  return new Int(emitter, 64, dst);
}

function withKey<K extends Type>(
  emitter: Emitter,
  map: MapSpec<K>,
  key: ElementOf<K>,
  use: (pointer: Operand) => void,
): void {
  emitter.onLine(() => {
    inFrame(emitter, map.key!, key, `${map.name} key`, use);
  });
}

/** Puts a value into the frame for the time of one call. */
function inFrame(emitter: Emitter, type: Type, value: unknown, name: string, use: (pointer: Operand) => void): void {
  if (isViewOf(type, value)) {
    use(addressRegister(memoryOf(value)));
    return;
  }
  emitter.withSlot(type.size, (slot) => {
    const memory: Memory = { emitter, address: { base: { slot }, offset: 0 }, name, check: () => {} };
    zeroTheRest(memory, type, value);
    writeType(memory, type, value);
    use(emitter.frameAddress(slot));
  });
}
