import { attr, attribute } from '../sys/attr.ts';
import { openCommand } from '../sys/bpf.ts';
import type { Descriptor } from '../sys/descriptor.ts';
import { addressOf } from '../sys/libc.ts';

/** Hands type information to the kernel, for a map or program that is about to be made. */
export function loadBtf(btf: Buffer, what: string): Descriptor {
  return openCommand(
    'BTF_LOAD',
    attribute(attr.btfLoad, { btf: addressOf(btf), size: btf.length }),
    `${what}: load its types`,
  );
}
