import type { OpaqueName, Struct } from '../btf/type.ts';
import { DslError } from '../errors.ts';
import { CallSite } from '../source-location.ts';
import { type Memory, within } from './memory.ts';
import { OPAQUE, opaqueFields } from './opaque-fields.ts';
import { memoryOf, structOf, type ViewWith } from './view.ts';

/** The field of the kernel's own in a map's value. @throws DslError for a view of anything else. */
export function opaqueField<Name extends OpaqueName>(view: ViewWith<Name>, name: Name, action: string): Memory {
  const memory = memoryOf(view) as Memory | undefined;
  const type: Struct | undefined = memory && structOf(view);
  const field = opaqueFields(type).find(([, of]) => of === name)?.[0];
  if (memory?.map && type && field !== undefined) {
    return within(memory, type.offsets[field]!, `${memory.name}.${field}`);
  }
  const reason = field === undefined ? `it has no field that is a ${OPAQUE[name].name}` : 'it lies in no map';
  throw new DslError(
    `${action} ${memory?.name ?? 'value'}: ${reason}; give the value that a look-up in a map gave`,
    new CallSite().location,
  );
}
