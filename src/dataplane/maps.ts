/** Maps as plain data: their users, and their first contents. */
import type { MapSpec } from '../ebpf/language.ts';
import type { Policy } from '../policy/policy.ts';

/** Room for blocks of both levels of the IPv4 lists, and for IPv6 networks. */
export interface ListCapacity {
  readonly middle: number;
  readonly leaf: number;
  readonly networks6: number;
}

export const SMALL_LISTS: ListCapacity = { middle: 256, leaf: 1024, networks6: 1024 };

/** What decides how large maps are. */
export interface Settings {
  readonly policy: Policy;
  readonly lists: ListCapacity;
}

/**
 * The contents of a map that follow from the policy: single entries, with zeros in all others, or every value of an mmapable array of `u16`, in
 * order, because millions of updates would take seconds.
 */
export type MapContents =
  | { readonly map: MapSpec; readonly entries: readonly (readonly [key: unknown, value: unknown])[] }
  | { readonly map: MapSpec; readonly values: Uint16Array };

/** Maps that belong together: each file that owns some exports a group, and each stage names the groups that it uses. */
export interface MapGroup<M extends object = object> {
  /** The maps by name. They may lie in arrays and objects; a map that the policy does not need is undefined. */
  specs(given: Settings): M;
  /** Maps whose contents follow from the policy: each policy starts with these. All other maps are taken over from the policy before it. */
  contents?(maps: M, given: Settings): readonly MapContents[];
}

type Intersection<U> = (U extends U ? (member: U) => void : never) extends (all: infer I) => void ? I : never;

/** All maps of several groups. */
export type MapsOf<G extends readonly MapGroup[]> = Intersection<ReturnType<G[number]['specs']>>;

/** Every map in a flat list, the counts of lost records included. */
export function flatMaps(maps: object): MapSpec[] {
  return Object.values(maps).flatMap((entry: unknown): MapSpec[] => {
    // Typed arrays are no maps, and searching millions of numbers takes time.
    if (typeof entry !== 'object' || entry === null || ArrayBuffer.isView(entry)) return [];
    if (!('maxEntries' in entry)) return flatMaps(entry);
    const map = entry as MapSpec & { readonly lost?: MapSpec };
    return map.lost ? [map, map.lost] : [map];
  });
}

/** Makes a group; the type of `contents` follows from `specs`. */
export function mapGroup<M extends object>(group: MapGroup<M>): MapGroup<M> {
  return Object.freeze(group);
}
