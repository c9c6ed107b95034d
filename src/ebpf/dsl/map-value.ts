import type { Struct, Type } from '../btf/type.ts';
import type { Memory } from './memory.ts';
import { readType, type View, viewOf } from './view.ts';

/** A map's value: the view of a struct; for anything else, a view with the one field `value`. */
export type MapValue<V extends Type> = V extends Struct<infer F> ? View<F> : View<{ readonly value: V }>;

/** The view of a value in a map. */
export function mapValue<V extends Type>(memory: Memory, type: V): MapValue<V> {
  if (type.kind === 'struct') return readType(memory, type) as MapValue<V>;
  return viewOf(memory, boxed(type)) as unknown as MapValue<V>;
}

const boxes = new WeakMap<Type, Struct>();

function boxed(type: Type): Struct {
  let box = boxes.get(type);
  if (!box) {
    box = { kind: 'struct', name: 'value', fields: { value: type }, offsets: { value: 0 }, size: type.size };
    boxes.set(type, box);
  }
  return box;
}
