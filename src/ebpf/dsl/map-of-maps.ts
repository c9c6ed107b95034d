import type { Scalar, Type } from '../btf/type.ts';
import { u32 } from '../btf/type.ts';
import { DslError } from '../errors.ts';
import { CallSite } from '../source-location.ts';
import { type KindsFor, requireKind } from './map-kind.ts';
import { type MapSpec, spec } from './map.ts';

/** The shape of the maps in a map of maps. */
export type InnerSpec = MapSpec<Type, Type, KindsFor<'put into a map'>>;

/** The value of a map of maps: for programs a map of the shape `inner`, for user space its id. */
export interface MapOf<I extends InnerSpec = InnerSpec> extends Scalar<'u32'> {
  readonly inner: I;
}

/** The shape of the maps in a map of maps, if it is one. */
export function innerOf({ value }: Pick<MapSpec, 'value'>): InnerSpec | undefined {
  return value && (value as Partial<MapOf>).inner;
}

/** @throws DslError for a kind of map that cannot be in another. */
function mapOf<I extends InnerSpec>(inner: I): MapOf<I> {
  requireKind(inner, 'put into a map');
  return Object.freeze({ ...u32, inner });
}

/**
 * Maps by number: a program looks one up and uses it; user space puts them in and replaces them, `map.update(index, inner)`. All have the
 * shape of `inner`, of which none is made.
 */
export function arrayOfMaps<I extends InnerSpec>(
  name: string,
  { inner, maxEntries }: { readonly inner: I; readonly maxEntries: number },
): MapSpec<typeof u32, MapOf<I>, 'array of maps'> {
  return spec({ name, kind: 'array of maps', key: u32, value: mapOf(inner), maxEntries });
}

/** Maps by key, like those of `arrayOfMaps`. */
export function hashOfMaps<K extends Type, I extends InnerSpec>(
  name: string,
  { key, inner, maxEntries }: { readonly key: K; readonly inner: I; readonly maxEntries: number },
): MapSpec<K, MapOf<I>, 'hash of maps'> {
  return spec({ name, kind: 'hash of maps', key, value: mapOf(inner), maxEntries });
}

/** Where a map is that a look-up gave. */
export interface Place {
  readonly register: number;
  /** @throws DslError where it cannot be used. */
  check(): void;
}

/** A map that a look-up in a map of maps gave; it is used as its spec would be. */
export type FoundMap<I extends InnerSpec = InnerSpec> = I & { readonly found: Place };

/** A map that has its place before the program runs. */
export interface NotFound {
  readonly found?: never;
}

/** Where a map was found, if a look-up gave it. @throws DslError where it cannot be used. */
export function foundRegister(map: MapSpec): number | undefined {
  const { found } = map as Partial<FoundMap>;
  found?.check();
  return found?.register;
}

/** @throws DslError for a map that a look-up gave. */
export function refuseFound(map: MapSpec, operation: string): void {
  if (!('found' in map)) return;
  throw new DslError(
    `${operation} ${map.name}: which map it is comes out when the program runs; look its values up`,
    new CallSite().location,
  );
}
