/** Fields of the kernel's own in the values of maps: where they may be, and which value has one. */
import type { OpaqueName, Type } from '../btf/type.ts';
import type { MapKind } from './map-kind.ts';

/** What they are called here, and the kinds of map that can have them (map_check_btf, kernel/bpf/syscall.c). */
export const OPAQUE: Readonly<Record<OpaqueName, { readonly name: string; readonly kinds: readonly MapKind[] }>> = {
  bpf_spin_lock: { name: 'spinLock', kinds: ['array', 'hash'] },
  bpf_timer: { name: 'timer', kinds: ['array', 'hash', 'LRU hash'] },
};

/** How many fields of the kernel's own a type has, in all its parts. */
function countOpaque(type: Type | undefined): number {
  switch (type?.kind) {
    case 'opaque':
      return 1;
    case 'array':
      return countOpaque(type.element);
    case 'struct':
      return Object.values(type.fields).reduce((sum, field) => sum + countOpaque(field), 0);
    default:
      return 0;
  }
}

/** The fields of the kernel's own that a value has itself, by name. */
export function opaqueFields(value: Type | undefined): [string, OpaqueName][] {
  if (value?.kind !== 'struct') return [];
  return Object.entries(value.fields).flatMap(([field, type]) => (type.kind === 'opaque' ? [[field, type.name]] : []));
}

/** Why a map of this kind cannot have such keys and values, if it cannot. */
export function opaqueMistake(kind: MapKind, key: Type | undefined, value: Type | undefined): string | undefined {
  if (countOpaque(key) > 0) return 'locks and timers belong into the value, not the key';
  const fields = opaqueFields(value);
  if (countOpaque(value) !== fields.length) return 'a spinLock or timer is a field of the value itself, not of a part';
  for (const [index, [field, of]] of fields.entries()) {
    const { name, kinds } = OPAQUE[of];
    if (fields.slice(0, index).some(([, other]) => other === of)) return `a value has one ${name}; ${field} is another`;
    if (!kinds.includes(kind)) return `${field} is a ${name}, which values of ${kinds.join(', ')} maps alone can have`;
  }
  return undefined;
}

/** Whether a value has such a field. */
export function hasOpaque(value: Type | undefined, name: OpaqueName): boolean {
  return opaqueFields(value).some(([, of]) => of === name);
}
