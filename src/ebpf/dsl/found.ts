import type { Type } from '../btf/type.ts';
import type { Emitter } from './emitter.ts';
import { type FoundMap, innerOf, type MapOf } from './map-of-maps.ts';
import { type MapValue, mapValue } from './map-value.ts';
import type { MapSpec } from './map.ts';
import { memoryAt } from './memory.ts';

/** The result of a look-up: the view of a value, or a map. */
export type Found<V extends Type> = V extends MapOf<infer I> ? FoundMap<I> : MapValue<V>;

/** The value or map behind the pointer from a look-up in `map`. */
export function foundIn<V extends Type>(emitter: Emitter, map: MapSpec<Type, V>, register: number): Found<V> {
  const inner = innerOf(map);
  if (!inner) return mapValue(memoryAt(emitter, register, map.name, map), map.value!) as Found<V>;
  const { check } = memoryAt(emitter, register, inner.name);
  return Object.freeze({ ...inner, found: { register, check } }) as unknown as Found<V>;
}
