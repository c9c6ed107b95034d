/**
 * A reason. Its number indexes counters, event budgets and events. Pinned counters outlive an upgrade, so a number keeps its reason for ever: a new
 * reason takes the number after the highest that was ever used, and the number of a removed reason is added to `RETIRED`. Gaps are allowed.
 */
export type VerdictName = 'pass' | 'drop' | 'answer';

/** Counters have room for so many reasons. */
export const REASON_NUMBERS = 64;

/** Numbers of reasons that earlier releases had. None so far. */
export const RETIRED: readonly number[] = [];

/** A reason as its stage defines it. */
export interface ReasonDefinition {
  readonly number: number;
  readonly verdict: VerdictName;
  readonly description: string;
  /** Many frames end for it, in peace or under attack: it is counted in place, because a call costs as much as the counting. */
  readonly often?: boolean;
}

export interface Reason<Name extends string = string> extends ReasonDefinition {
  readonly name: Name;
}

export type Reasons<Name extends string> = { readonly [N in Name]: Reason<N> };

/** Gives each reason its name. */
export function defineReasons<const Name extends string>(
  definitions: Readonly<Record<Name, ReasonDefinition>>,
): Reasons<Name> {
  return Object.fromEntries(
    Object.entries<ReasonDefinition>(definitions).map(([name, definition]) => [
      name,
      Object.freeze({ name, ...definition }),
    ]),
  ) as unknown as Reasons<Name>;
}
