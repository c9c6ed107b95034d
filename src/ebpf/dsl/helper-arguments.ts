import type { ArgumentKind } from '../uapi/helper-prototype.ts';
import type { helpers } from '../uapi/helpers.gen.ts';
import type { Int } from './int.ts';
import type { MapSpec } from './map.ts';

/** A helper that can be called by name. */
export type HelperName = keyof typeof helpers;

/** The program's context, as a helper's argument. */
export interface ContextValue {
  readonly context: number;
}

type ArgumentOf<Kind> = Kind extends 'scalar'
  ? Int | number | bigint
  : Kind extends 'map'
    ? MapSpec
    : Kind extends 'ctx'
      ? ContextValue
      : object;

type ArgumentsOf<Kinds extends readonly ArgumentKind[]> = { [Index in keyof Kinds]: ArgumentOf<Kinds[Index]> };

export type HelperArguments<Name extends HelperName> = ArgumentsOf<(typeof helpers)[Name]['args']>;
