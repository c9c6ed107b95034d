import { DslError } from '../errors.ts';
import type { Type } from '../btf/type.ts';
import { u32, u64 } from '../btf/type.ts';
import { CallSite } from '../source-location.ts';
import { MapType } from '../uapi/constants.gen.ts';

/** Kernel names of objects have 15 characters and a zero (BPF_OBJ_NAME_LEN, linux/bpf.h). */
const MAX_NAME = 15;

/** Flags of BPF_MAP_CREATE that specs use (linux/bpf.h). */
export const MapFlag = { NO_PREALLOC: 1, MMAPABLE: 1 << 10 } as const;

/** What a map is to be, as plain data. `K` and `V` are the types of its keys and values. */
export interface MapSpec<K extends Type = Type, V extends Type = Type, P extends boolean = boolean> {
  readonly name: string;
  readonly type: number;
  readonly key: K | undefined;
  readonly value: V | undefined;
  readonly maxEntries: number;
  readonly flags: number;
  /** Whether each CPU has a value of its own. */
  readonly perCpu: P;
  /** Of a ring buffer: counts, per CPU, the records that found no room. */
  readonly lost?: MapSpec<typeof u32, typeof u64, true>;
}

export interface MapOptions<K extends Type, V extends Type> {
  readonly key: K;
  readonly value: V;
  readonly maxEntries: number;
}

export interface ArrayOptions<V extends Type> {
  readonly value: V;
  readonly maxEntries: number;
  /** Lets user space map the values into its memory. */
  readonly mmap?: boolean;
}

function spec<K extends Type, V extends Type, const P extends boolean>(fields: MapSpec<K, V, P>): MapSpec<K, V, P> {
  const { name, maxEntries } = fields;
  if (!/^\w+$/.test(name) || name.length > MAX_NAME) {
    throw new DslError(
      `define map ${name}: a name has 1 to ${String(MAX_NAME)} letters, digits and underscores`,
      new CallSite().location,
    );
  }
  if (!Number.isInteger(maxEntries) || maxEntries < 1 || maxEntries > 0xffff_ffff) {
    throw new DslError(
      `define map ${name}: maxEntries is ${String(maxEntries)}; give a whole number from 1 on`,
      new CallSite().location,
    );
  }
  return Object.freeze(fields);
}

/** Values numbered from 0; every one exists from the start, filled with zeros. */
export function arrayMap<V extends Type>(
  name: string,
  { value, maxEntries, mmap = false }: ArrayOptions<V>,
): MapSpec<typeof u32, V, false> {
  const flags = mmap ? MapFlag.MMAPABLE : 0;
  return spec({ name, type: MapType.ARRAY, key: u32, value, maxEntries, flags, perCpu: false });
}

/** An array of which each CPU has its own copy. */
export function perCpuArray<V extends Type>(
  name: string,
  { value, maxEntries }: Omit<ArrayOptions<V>, 'mmap'>,
): MapSpec<typeof u32, V, true> {
  return spec({ name, type: MapType.PERCPU_ARRAY, key: u32, value, maxEntries, flags: 0, perCpu: true });
}

export function hashMap<K extends Type, V extends Type>(name: string, options: MapOptions<K, V>): MapSpec<K, V, false> {
  return spec({ name, type: MapType.HASH, ...options, flags: 0, perCpu: false });
}

/** A hash that makes room by dropping what was least recently used. */
export function lruHash<K extends Type, V extends Type>(name: string, options: MapOptions<K, V>): MapSpec<K, V, false> {
  return spec({ name, type: MapType.LRU_HASH, ...options, flags: 0, perCpu: false });
}

export function perCpuHash<K extends Type, V extends Type>(
  name: string,
  options: MapOptions<K, V>,
): MapSpec<K, V, true> {
  return spec({ name, type: MapType.PERCPU_HASH, ...options, flags: 0, perCpu: true });
}

export function lruPerCpuHash<K extends Type, V extends Type>(
  name: string,
  options: MapOptions<K, V>,
): MapSpec<K, V, true> {
  return spec({ name, type: MapType.LRU_PERCPU_HASH, ...options, flags: 0, perCpu: true });
}

/**
 * Longest-prefix match. The key is a struct whose first field is a u32 with the number of significant bits, and the rest
 * the address in network order (`struct bpf_lpm_trie_key`, linux/bpf.h).
 */
export function lpmTrie<K extends Type, V extends Type>(name: string, options: MapOptions<K, V>): MapSpec<K, V, false> {
  return spec({ name, type: MapType.LPM_TRIE, ...options, flags: MapFlag.NO_PREALLOC, perCpu: false });
}

/** Programs by number, for tail calls. */
export function programArray(
  name: string,
  { maxEntries }: { readonly maxEntries: number },
): MapSpec<typeof u32, typeof u32, false> {
  return spec({ name, type: MapType.PROG_ARRAY, key: u32, value: u32, maxEntries, flags: 0, perCpu: false });
}

/**
 * Records from the kernel to user space, in order. `size` is in bytes, a power of two and a multiple of the page.
 * What found no room is counted in a companion map.
 */
export function ringBuffer(name: string, { size }: { readonly size: number }): MapSpec<Type, Type, false> {
  if (size < 4096 || (size & (size - 1)) !== 0) {
    throw new DslError(
      `define ring buffer ${name}: size ${String(size)} is not a power of two from 4096 on`,
      new CallSite().location,
    );
  }
  return spec({
    name,
    type: MapType.RINGBUF,
    key: undefined,
    value: undefined,
    maxEntries: size,
    flags: 0,
    perCpu: false,
    lost: perCpuArray(`${name.slice(0, MAX_NAME - 5)}_lost`, { value: u64, maxEntries: 1 }),
  });
}
