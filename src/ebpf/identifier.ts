import { DslError } from './errors.ts';
import { CallSite } from './source-location.ts';

/** Names stand in BTF, where the kernel takes those of C (`btf_name_valid_identifier`, kernel/bpf/btf.c). @throws DslError for another. */
export function checkIdentifier(what: 'program' | 'func' | 'struct', name: string): void {
  if (/^[A-Za-z_]\w*$/.test(name) && name.length <= MAX_LENGTH) return;
  throw new DslError(
    `define ${what} ${JSON.stringify(name)}: a name has 1 to ${String(MAX_LENGTH)} letters, digits and underscores, and begins with no digit`,
    new CallSite().location,
  );
}

/** KSYM_NAME_LEN was 128 bytes with the zero before Linux 6.1. */
const MAX_LENGTH = 127;
