/**
 * The place of pins. They last as long as a mount of their BPF file system. `ip netns exec` gives its command mounts of its own, with an empty /sys,
 * that end with the command. So pins go to the first BPF file system of: our own /sys/fs/bpf; that of process 1; those of the processes that started
 * us, by /proc/PID/root.
 */
import { readFileSync, readlinkSync, statfsSync, statSync } from 'node:fs';
import { BPF_FILE_SYSTEM } from '../ebpf/index.ts';

/** BPF_FS_MAGIC, include/uapi/linux/magic.h */
const BPF_FS_MAGIC = 0xcafe4a11;
const MAX_ANCESTORS = 32;

export interface PinRoot {
  readonly path: string;
  /** False where the file system goes with the processes of this mount namespace. */
  readonly lasting: boolean;
}

function tryOr<T, U>(read: () => T, otherwise: U): T | U {
  try {
    return read();
  } catch {
    return otherwise; // gone, or not ours to look at
  }
}

const isBpfFileSystem = (path: string): boolean => tryOr(() => statfsSync(path).type === BPF_FS_MAGIC, false);
const mountNamespace = (pid: string): string | undefined => tryOr(() => readlinkSync(`/proc/${pid}/ns/mnt`), undefined);
const device = (path: string): number | undefined => tryOr(() => statSync(path).dev, undefined);

/** The processes that this one descends from, the nearest first. */
function ancestors(): string[] {
  const found: string[] = [];
  for (let pid = 'self'; found.length < MAX_ANCESTORS;) {
    const status = tryOr(() => readFileSync(`/proc/${pid}/status`, 'latin1'), '');
    pid = /^PPid:\s*(\d+)/m.exec(status)?.[1] ?? '0';
    if (pid === '0') break;
    found.push(pid);
  }
  return found;
}

export function pinRoot(): PinRoot {
  const beneath = (pid: string): string => `/proc/${pid}/root${BPF_FILE_SYSTEM}`;
  if (isBpfFileSystem(BPF_FILE_SYSTEM)) {
    const first = device(beneath('1'));
    return { path: `${BPF_FILE_SYSTEM}/seawall`, lasting: first === undefined || first === device(BPF_FILE_SYSTEM) };
  }
  const others = ['1', ...ancestors()];
  const own = mountNamespace('self');
  const elsewhere = others.filter((pid) => (mountNamespace(pid) ?? own) !== own);
  const outside = elsewhere.find((pid) => isBpfFileSystem(beneath(pid)));
  if (outside !== undefined) return { path: `${beneath(outside)}/seawall`, lasting: true };
  return { path: `${BPF_FILE_SYSTEM}/seawall`, lasting: elsewhere.length === 0 };
}
