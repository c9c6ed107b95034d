import { DslError } from '../errors.ts';
import { CallSite } from '../source-location.ts';
import { MapType } from '../uapi/constants.gen.ts';

/** The kinds of map, by the name that messages use, with their numbers in the kernel. */
export const MAP_TYPE = {
  array: MapType.ARRAY,
  'per-CPU array': MapType.PERCPU_ARRAY,
  hash: MapType.HASH,
  'LRU hash': MapType.LRU_HASH,
  'per-CPU hash': MapType.PERCPU_HASH,
  'LRU per-CPU hash': MapType.LRU_PERCPU_HASH,
  'LPM trie': MapType.LPM_TRIE,
  'array of maps': MapType.ARRAY_OF_MAPS,
  'hash of maps': MapType.HASH_OF_MAPS,
  'program array': MapType.PROG_ARRAY,
  'ring buffer': MapType.RINGBUF,
  'device map': MapType.DEVMAP,
  'device hash': MapType.DEVMAP_HASH,
  'CPU map': MapType.CPUMAP,
} as const;

export type MapKind = keyof typeof MAP_TYPE;

/** Kinds of which each CPU has values of its own. */
export type PerCpuKind = 'per-CPU array' | 'per-CPU hash' | 'LRU per-CPU hash';

const HASHES = ['hash', 'LRU hash', 'per-CPU hash', 'LRU per-CPU hash'] as const;
const ARRAYS = ['array', 'per-CPU array'] as const;
const MAPS = ['array of maps', 'hash of maps'] as const;

/** What a program can do with a map, and with which kinds. */
const OPERATIONS = {
  'look up in': { kinds: [...ARRAYS, ...HASHES, 'LPM trie', ...MAPS], needs: 'an array, a hash or an LPM trie' },
  'put into a map': { kinds: [...ARRAYS, ...HASHES, 'LPM trie'], needs: 'an array, a hash or an LPM trie' },
  update: { kinds: [...ARRAYS, ...HASHES, 'LPM trie'], needs: 'an array, a hash or an LPM trie' },
  'delete from': { kinds: [...HASHES, 'LPM trie'], needs: 'a hash or an LPM trie' },
  'take the place of': { kinds: ['array'], needs: 'an array of one entry' },
  walk: { kinds: [...ARRAYS, ...HASHES], needs: 'an array or a hash' },
  'record in': { kinds: ['ring buffer'], needs: 'a ring buffer' },
  'tail call through': { kinds: ['program array'], needs: 'a program array' },
  'redirect into': {
    kinds: ['device map', 'device hash', 'CPU map'],
    needs: 'a device map, a device hash or a CPU map',
  },
} as const satisfies Record<string, { readonly kinds: readonly MapKind[]; readonly needs: string }>;

export type MapOperation = keyof typeof OPERATIONS;

/** The kinds of map that an operation takes. */
export type KindsFor<Operation extends MapOperation> = (typeof OPERATIONS)[Operation]['kinds'][number];

/** Helpers that take one kind of map, and the operation that they are. */
export const HELPER_OPERATIONS = {
  map_lookup_elem: 'look up in',
  map_update_elem: 'update',
  map_delete_elem: 'delete from',
  tail_call: 'tail call through',
  redirect_map: 'redirect into',
  for_each_map_elem: 'walk',
  ringbuf_output: 'record in',
  ringbuf_reserve: 'record in',
  ringbuf_query: 'record in',
} as const satisfies Record<string, MapOperation>;

interface Named {
  readonly name: string;
  readonly kind: MapKind;
}

/** The kind with its article: `an LRU hash`. */
export function aKind(kind: MapKind): string {
  return /^[aL]/.test(kind) ? `an ${kind}` : `a ${kind}`;
}

/** @throws DslError at the author's line where the operation does not take this kind of map. */
export function requireKind(map: Named, operation: MapOperation): void {
  const { kinds, needs } = OPERATIONS[operation];
  if ((kinds as readonly MapKind[]).includes(map.kind)) return;
  throw new DslError(`${operation} ${map.name}: it is ${aKind(map.kind)}; give ${needs}`, new CallSite().location);
}
