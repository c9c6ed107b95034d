import type { Type } from '../btf/type.ts';
import type { ArgumentKind } from '../uapi/helper-prototype.ts';
import type { helpers } from '../uapi/helpers.gen.ts';
import type { Int } from './int.ts';
import type { HELPER_OPERATIONS, KindsFor, MapKind } from './map-kind.ts';
import type { MapSpec } from './map.ts';

/** A helper that can be called by name. */
export type HelperName = keyof typeof helpers;

/** The program's context, as a helper's argument. */
export interface ContextValue {
  readonly context: number;
}

/** The kinds of map that a helper takes. */
type MapKindsOf<Name> = Name extends keyof typeof HELPER_OPERATIONS
  ? KindsFor<(typeof HELPER_OPERATIONS)[Name]>
  : MapKind;

type ArgumentOf<Name, Kind> = Kind extends 'scalar'
  ? Int | number | bigint
  : Kind extends 'map'
    ? MapSpec<Type, Type, MapKindsOf<Name>>
    : Kind extends 'ctx'
      ? ContextValue
      : object;

type ArgumentsOf<Name, Kinds extends readonly ArgumentKind[]> = {
  [Index in keyof Kinds]: ArgumentOf<Name, Kinds[Index]>;
};

export type HelperArguments<Name extends HelperName> = ArgumentsOf<Name, (typeof helpers)[Name]['args']>;
