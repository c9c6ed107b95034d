import { existsSync, mkdirSync, readFileSync, readlinkSync, statfsSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { DslError, SyscallError } from '../errors.ts';
import { attr, attribute } from '../sys/attr.ts';
import { adopt, command, openCommand } from '../sys/bpf.ts';
import type { Descriptor } from '../sys/descriptor.ts';
import { addressOf, mount } from '../sys/libc.ts';

export const BPF_FILE_SYSTEM = '/sys/fs/bpf';
/** BPF_FS_MAGIC, include/uapi/linux/magic.h */
const BPF_FS_MAGIC = 0xcafe4a11;

/** Mounts the BPF file system at its usual place unless it is there. */
export function ensureBpfFileSystem(): void {
  if (existsSync(BPF_FILE_SYSTEM) && statfsSync(BPF_FILE_SYSTEM).type === BPF_FS_MAGIC) return;
  const result = mount('bpf', BPF_FILE_SYSTEM, 'bpf');
  if (!result.ok) {
    throw new SyscallError(
      'mount',
      result.errno,
      `mount ${BPF_FILE_SYSTEM}: mount failed with ${result.errno}; run as root, or mount it yourself: mount -t bpf bpf ${BPF_FILE_SYSTEM}`,
    );
  }
}

const cString = (text: string): Buffer => Buffer.from(`${text}\0`);

/** Gives an object a name in the BPF file system, which keeps it alive after its descriptors are closed. */
export function pinObject(fd: number, path: string, what: string): void {
  if (path.startsWith(`${BPF_FILE_SYSTEM}/`)) ensureBpfFileSystem();
  mkdirSync(dirname(path), { recursive: true });
  const name = cString(path);
  command('OBJ_PIN', attribute(attr.object, { path: addressOf(name), fd }), `pin ${what} at ${path}`);
}

type Pinned = 'map' | 'program' | 'link';

/** Which kind of object a descriptor is: the kernel names its file `bpf-map`, `bpf-prog`, and `bpf-link` or `bpf_link` (kernel/bpf/syscall.c). */
function kindOf(descriptor: Descriptor): Pinned | undefined {
  const file = `/proc/self/fd/${String(descriptor.fd)}`;
  const kind = existsSync(file) ? /^anon_inode:bpf[-_](map|prog|link)$/.exec(readlinkSync(file))?.[1] : undefined;
  return kind === 'prog' ? 'program' : (kind as Pinned | undefined);
}

/** Opens the pinned object at a path. @throws SyscallError; DslError for an object of another kind. */
export function openPinned(path: string, what: Pinned): Descriptor {
  const name = cString(path);
  const doing = `open pinned ${what} ${path}`;
  return adopt(openCommand('OBJ_GET', attribute(attr.object, { path: addressOf(name) }), doing), (descriptor) => {
    const kind = kindOf(descriptor);
    if (kind !== undefined && kind !== what) throw new DslError(`${doing}: it is a ${kind}`);
    return descriptor;
  });
}

/** Removes a pin; the object goes with its last user. */
export function unpin(path: string): void {
  unlinkSync(path);
}

/** The CPUs that may ever exist: per-CPU maps hold a value for each, whether it is online or not. */
export function possibleCpus(): number {
  return countCpus(readFileSync('/sys/devices/system/cpu/possible', 'utf8'));
}

/** How many CPUs a list like `0-3,8-11` names. */
export function countCpus(list: string): number {
  return list
    .trim()
    .split(',')
    .map((range) => range.split('-').map(Number))
    .reduce((sum, [first, last = first]) => sum + last! - first! + 1, 0);
}
