/** What user space puts into maps and gets from them, by kind. */
import type { Infer, Type } from '../btf/type.ts';
import { aKind, type MapKind, type PerCpuKind } from '../dsl/map-kind.ts';
import { innerOf, type InnerSpec, type MapOf } from '../dsl/map-of-maps.ts';
import type { MapSpec } from '../dsl/map.ts';
import { DslError } from '../errors.ts';
import { CallSite } from '../source-location.ts';

/** A program in the kernel, as an element of a map. */
export interface ProgramHandle {
  readonly fd: number;
  readonly name: string;
}

/** The result of a look-up: a value, or one for each possible CPU; the id of a program or map in a program array or a map of maps. */
export type Stored<V extends Type, Kind extends MapKind> = Kind extends PerCpuKind ? readonly Infer<V>[] : Infer<V>;

/** A map in the kernel, as an element of a map of maps. */
export interface MapHandle<I extends InnerSpec = InnerSpec> {
  readonly fd: number;
  readonly spec: I;
}

/** The value for an update: as `Stored`; a program for a program array, a map for a map of maps. */
export type Storable<V extends Type, Kind extends MapKind> = Kind extends 'program array'
  ? ProgramHandle
  : V extends MapOf<infer I>
    ? MapHandle<I>
    : Stored<V, Kind>;

/** What user space can do with a map, and with which kinds. */
const OPERATIONS = {
  'look up in': { not: ['ring buffer'], instead: 'a RingBuffer reads its records' },
  update: { not: ['ring buffer'], instead: 'programs write its records' },
  'read entries of': { not: ['ring buffer'], instead: 'a RingBuffer reads its records' },
  'delete from': {
    not: ['ring buffer', 'array', 'per-CPU array'],
    instead: 'its elements stay; write a zero over one',
  },
} as const satisfies Record<string, { readonly not: readonly MapKind[]; readonly instead: string }>;

type Operation = keyof typeof OPERATIONS;

/** The kinds of map that an operation of user space takes. */
export type UserKindsFor<Name extends Operation> = Exclude<MapKind, (typeof OPERATIONS)[Name]['not'][number]>;

/** @throws DslError at the author's line where user space cannot do this with this kind of map. */
export function requireUserKind(
  { name, kind }: { readonly name: string; readonly kind: MapKind },
  operation: Operation,
) {
  const { not, instead } = OPERATIONS[operation];
  if (!(not as readonly MapKind[]).includes(kind)) return;
  throw new DslError(`${operation} ${name}: it is ${aKind(kind)}; ${instead}`, new CallSite().location);
}

/** Kinds whose keys and values BTF describes. */
export const DESCRIBED = new Set<MapKind>([
  'array',
  'per-CPU array',
  'hash',
  'LRU hash',
  'per-CPU hash',
  'LRU per-CPU hash',
]);

/** What to do about an errno of a command on an element, where its kind of map says more than the errno. */
export function elementAdvice({ kind }: { readonly kind: MapKind }, errno: string): string | undefined {
  if (errno === 'E2BIG') return 'the map is full (maxEntries), or the index lies beyond the array';
  if (kind === 'CPU map' && errno === 'ENODEV') return 'this machine has no such CPU';
  if (kind === 'CPU map' && errno === 'EOVERFLOW') return 'at most 16384 frames can wait for a CPU';
  if (kind.startsWith('device') && errno === 'EINVAL')
    return 'there is no interface of this index in this network namespace';
  return undefined;
}

/** The value that the kernel takes for what an update was given: of objects in the kernel their descriptors. */
export function elementOf(map: Pick<MapSpec, 'name' | 'kind' | 'value'>, given: unknown): unknown {
  const { name, kind } = map;
  const inner = innerOf(map);
  if (inner) return innerMap(map, inner, given).fd;
  if (kind !== 'program array') return given;
  if (typeof given === 'object' && given !== null && 'fd' in given && !('spec' in given)) return given.fd;
  throw new DslError(`update ${name}: ${aKind(kind)} takes a Program`, new CallSite().location);
}

/** @throws DslError for a value that is no map, and for a map of another shape than the others (bpf_map_meta_equal, kernel/bpf/map_in_map.c). */
function innerMap({ name, kind }: Pick<MapSpec, 'name' | 'kind'>, inner: InnerSpec, given: unknown): MapHandle {
  const refuse = (why: string): never => {
    throw new DslError(
      `update ${name}: ${aKind(kind)} takes a BpfMap of the shape of ${inner.name}; ${why}`,
      new CallSite().location,
    );
  };
  if (typeof given !== 'object' || given === null || !('spec' in given)) return refuse('this is none');
  const { spec } = given as MapHandle;
  const shape = (of: InnerSpec): string => {
    const entries = of.kind.endsWith('array') ? ` of ${String(of.maxEntries)} entries` : '';
    const sizes = `keys of ${String(of.key?.size)} bytes and values of ${String(of.value?.size)}`;
    return `${aKind(of.kind)}${entries} with ${sizes}`;
  };
  if (shape(spec) !== shape(inner)) refuse(`${spec.name} is ${shape(spec)}, and ${inner.name} ${shape(inner)}`);
  return given as MapHandle;
}
