/**
 * The state of a set of pins beside the program's maps: a small JSON text in a pinned map of its own. A file elsewhere would not last exactly as long
 * as the pins: it would survive an unmounted BPF file system, and be missing in another mount namespace.
 */
import { arrayMap, BpfMap, bytes, pinnedMapInfo } from '../ebpf/index.ts';
import type { SysctlsBefore } from './sysctls.ts';

/** The version of the layout of pins and of this text. Others are refused. */
export const PIN_VERSION = 1;

export interface PinnedState {
  readonly version: number;
  /** The names of everything in the set, in every version: what is removed with it. */
  readonly pins: readonly string[];
  /** The policy in force, as TOML. */
  readonly policy: string;
  /** The services by their index in maps. */
  readonly services: readonly string[];
  readonly sysctls: SysctlsBefore;
  /** How many frames of self-tests each counter holds, by its number. */
  readonly tested: Readonly<Record<string, number>>;
}

export const STATE = 'state';
const CHUNK = 4096;

/** Makes the map that holds a state; the caller pins it. */
export function createStateMap(state: PinnedState): BpfMap {
  const text = Buffer.from(JSON.stringify(state));
  const chunks = Math.max(1, Math.ceil(text.length / CHUNK));
  const spec = arrayMap(STATE, { value: bytes(CHUNK), maxEntries: chunks });
  const map = BpfMap.create(spec);
  try {
    for (let index = 0; index < chunks; index++) {
      const chunk = Buffer.alloc(CHUNK);
      text.copy(chunk, 0, index * CHUNK);
      map.update(index, chunk);
    }
    return map;
  } catch (error) {
    map[Symbol.dispose]();
    throw error;
  }
}

/** Reads a pinned state, of any version; undefined where it is none. */
export function readStateMap(path: string): Partial<PinnedState> | undefined {
  const { maxEntries, valueSize, type } = pinnedMapInfo(path);
  const spec = arrayMap(STATE, { value: bytes(CHUNK), maxEntries });
  if (type !== spec.type || valueSize !== CHUNK) return undefined;
  using map = BpfMap.openPinned(path, spec);
  const chunks = Array.from({ length: maxEntries }, (_, index) => Buffer.from(map.lookup(index)!));
  const text = Buffer.concat(chunks).toString('utf8').replace(/\0+$/, '');
  try {
    return JSON.parse(text) as Partial<PinnedState>;
  } catch {
    return undefined; // a process was killed while it wrote it
  }
}
