import type { Struct, Type } from '../btf/type.ts';
import type { Emitter } from './emitter.ts';
import { type View, viewOf } from './view.ts';

/** Emits memory of the frame, filled with zeros, which can be used as long as the current scope is open. */
export function emitStack<F extends Readonly<Record<string, Type>>>(emitter: Emitter, type: Struct<F>): View<F> {
  const { scope } = emitter;
  const slot = emitter.slot(type.size);
  for (let offset = 0; offset < Math.ceil(type.size / 8) * 8; offset += 8) {
    emitter.emit({ op: 'store', size: 8, to: { base: { slot }, offset }, src: 0n, note: `${type.name} = 0` });
  }
  const check = (): void => {
    emitter.checkUsable(scope);
  };
  return viewOf({ emitter, address: { base: { slot }, offset: 0 }, name: type.name, check }, type);
}
