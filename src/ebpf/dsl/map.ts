import { DslError } from '../errors.ts';
import type { Struct, Type } from '../btf/type.ts';
import { u16, u32, u64 } from '../btf/type.ts';
import { CallSite } from '../source-location.ts';
import { MAP_TYPE, type MapKind } from './map-kind.ts';
import { opaqueMistake } from './opaque-fields.ts';

/** Kernel names of objects have 15 characters and a zero (BPF_OBJ_NAME_LEN, linux/bpf.h). */
const MAX_NAME = 15;

/** Flags of BPF_MAP_CREATE that specs use (linux/bpf.h). */
export const MapFlag = { NO_PREALLOC: 1, MMAPABLE: 1 << 10 } as const;

/** The specification of a map, as plain data. `K` and `V` are the types of its keys and values. */
export interface MapSpec<K extends Type = Type, V extends Type = Type, Kind extends MapKind = MapKind> {
  readonly name: string;
  readonly kind: Kind;
  /** The number of the kind in the kernel (`enum bpf_map_type`). */
  readonly type: number;
  readonly key: K | undefined;
  readonly value: V | undefined;
  readonly maxEntries: number;
  readonly flags: number;
  /** Whether each CPU has a value of its own. */
  readonly perCpu: boolean;
}

/** A ring buffer. `lost` counts, per CPU, the records that found no room. */
export interface RingSpec extends MapSpec<Type, Type, 'ring buffer'> {
  readonly lost: MapSpec<typeof u32, typeof u64, 'per-CPU array'>;
}

/** The key of a longest-prefix match: the number of significant bits, and the address in network order. */
export type LpmKey = Struct;

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

interface Given<K extends Type, V extends Type, Kind extends MapKind> {
  readonly name: string;
  readonly kind: Kind;
  readonly key?: K;
  readonly value?: V;
  readonly maxEntries: number;
  readonly flags?: number;
}

function refuse(name: string, why: string): never {
  throw new DslError(`define map ${name}: ${why}`, new CallSite().location);
}

/** A spec of these parts. @throws DslError for a name or size that the kernel does not take. */
export function spec<K extends Type, V extends Type, const Kind extends MapKind>(
  given: Given<K, V, Kind>,
): MapSpec<K, V, Kind> {
  const { name, kind, key, value, maxEntries, flags = 0 } = given;
  if (!/^\w+$/.test(name) || name.length > MAX_NAME) {
    refuse(name, `a name has 1 to ${String(MAX_NAME)} letters, digits and underscores`);
  }
  if (!Number.isInteger(maxEntries) || maxEntries < 1 || maxEntries > 0xffff_ffff) {
    refuse(name, `maxEntries is ${String(maxEntries)}; give a whole number from 1 on`);
  }
  const mistake = opaqueMistake(kind, key, value);
  if (mistake !== undefined) refuse(name, mistake);
  const perCpu = kind.includes('per-CPU');
  return Object.freeze({ name, kind, type: MAP_TYPE[kind], key, value, maxEntries, flags, perCpu });
}

/** Values numbered from 0; every one exists from the start, filled with zeros. */
export function arrayMap<V extends Type>(
  name: string,
  { value, maxEntries, mmap = false }: ArrayOptions<V>,
): MapSpec<typeof u32, V, 'array'> {
  return spec({ name, kind: 'array', key: u32, value, maxEntries, flags: mmap ? MapFlag.MMAPABLE : 0 });
}

/** An array of which each CPU has its own copy. */
export function perCpuArray<V extends Type>(
  name: string,
  { value, maxEntries }: Omit<ArrayOptions<V>, 'mmap'>,
): MapSpec<typeof u32, V, 'per-CPU array'> {
  return spec({ name, kind: 'per-CPU array', key: u32, value, maxEntries });
}

export function hashMap<K extends Type, V extends Type>(
  name: string,
  { key, value, maxEntries }: MapOptions<K, V>,
): MapSpec<K, V, 'hash'> {
  return spec({ name, kind: 'hash', key, value, maxEntries });
}

/** A hash that evicts the least recently used entries. */
export function lruHash<K extends Type, V extends Type>(
  name: string,
  { key, value, maxEntries }: MapOptions<K, V>,
): MapSpec<K, V, 'LRU hash'> {
  return spec({ name, kind: 'LRU hash', key, value, maxEntries });
}

export function perCpuHash<K extends Type, V extends Type>(
  name: string,
  { key, value, maxEntries }: MapOptions<K, V>,
): MapSpec<K, V, 'per-CPU hash'> {
  return spec({ name, kind: 'per-CPU hash', key, value, maxEntries });
}

export function lruPerCpuHash<K extends Type, V extends Type>(
  name: string,
  { key, value, maxEntries }: MapOptions<K, V>,
): MapSpec<K, V, 'LRU per-CPU hash'> {
  return spec({ name, kind: 'LRU per-CPU hash', key, value, maxEntries });
}

/** Numbers in host order: their bytes do not begin with the most significant, as a prefix has to. */
const HOST_ORDER = new Set<Type>([u16, u32, u64]);
/** `LPM_DATA_SIZE_MAX` (kernel/bpf/lpm_trie.c). */
const LPM_BYTES = 256;

/**
 * Longest-prefix match. The key is a struct whose first field is a u32 with the number of significant bits, and the rest
 * the address in network order (`struct bpf_lpm_trie_key`, linux/bpf.h). @throws DslError for a key of another shape.
 */
export function lpmTrie<K extends LpmKey, V extends Type>(
  name: string,
  { key, value, maxEntries }: MapOptions<K, V>,
): MapSpec<K, V, 'LPM trie'> {
  const [bits, ...address] = (key as Type).kind === 'struct' ? Object.values(key.fields) : [];
  if (bits !== u32 || key.size <= u32.size || key.size > u32.size + LPM_BYTES) {
    refuse(
      name,
      `the key of an LPM trie is a struct of a u32 with the number of bits, and an address of up to 256 bytes`,
    );
  }
  if (address.some((field) => HOST_ORDER.has(field))) {
    refuse(name, 'the address in the key of an LPM trie is in network order; use be16, be32, be64 or bytes(n)');
  }
  return spec({ name, kind: 'LPM trie', key, value, maxEntries, flags: MapFlag.NO_PREALLOC });
}

/** Programs by number, for tail calls. User space puts them in: `map.update(index, program)`. */
export function programArray(
  name: string,
  { maxEntries }: { readonly maxEntries: number },
): MapSpec<typeof u32, typeof u32, 'program array'> {
  return spec({ name, kind: 'program array', key: u32, value: u32, maxEntries });
}

/** Interfaces by number from 0, to redirect frames to. User space puts them in by their index in its network namespace; one that goes away leaves the map. */
export function deviceMap(
  name: string,
  { maxEntries }: { readonly maxEntries: number },
): MapSpec<typeof u32, typeof u32, 'device map'> {
  return spec({ name, kind: 'device map', key: u32, value: u32, maxEntries });
}

/** The same with keys that are any numbers, such as interface indices. Linux 5.4. */
export function deviceHash(
  name: string,
  { maxEntries }: { readonly maxEntries: number },
): MapSpec<typeof u32, typeof u32, 'device hash'> {
  return spec({ name, kind: 'device hash', key: u32, value: u32, maxEntries });
}

/**
 * CPUs to redirect frames to, by number; there the frames go up the stack. User space puts a CPU in with the number of frames that may wait for it,
 * up to 16,384. `maxEntries` is at most the number of CPUs that the kernel is built for.
 */
export function cpuMap(
  name: string,
  { maxEntries }: { readonly maxEntries: number },
): MapSpec<typeof u32, typeof u32, 'CPU map'> {
  return spec({ name, kind: 'CPU map', key: u32, value: u32, maxEntries });
}

/**
 * Records from the kernel to user space, in order. `size` is in bytes, a power of two and a multiple of the page.
 * What found no room is counted in a companion map.
 */
export function ringBuffer(name: string, { size }: { readonly size: number }): RingSpec {
  if (size < 4096 || (size & (size - 1)) !== 0) {
    throw new DslError(
      `define ring buffer ${name}: size ${String(size)} is not a power of two from 4096 on`,
      new CallSite().location,
    );
  }
  const lost = perCpuArray(`${name.slice(0, MAX_NAME - 5)}_lost`, { value: u64, maxEntries: 1 });
  return Object.freeze({ ...spec<Type, Type, 'ring buffer'>({ name, kind: 'ring buffer', maxEntries: size }), lost });
}
