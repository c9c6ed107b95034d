/** The values that inlines give and that functions take and give: numbers, and members of enums. */
import type { Emitter } from './emitter.ts';
import { EnumMember, EnumType, EnumValue } from './enum.ts';
import { Int, UNKNOWN, type Width } from './int.ts';

/** One value: a number of so many bits, or a member of an enum, which has 32. */
export type Kind = Width | EnumType;

/** The value in the kernel. */
export type ValueOf<K> = K extends Width ? Int<K> : K extends EnumType<infer N> ? EnumValue<N> : never;

/** What an author may give for it. */
export type GivenFor<K> = K extends Width
  ? Int<K> | number | bigint
  : K extends EnumType<infer N>
    ? EnumValue<N> | EnumMember<N>
    : never;

/** What an author may give for a value of any kind. */
export type AnyGiven = Int | number | bigint | EnumValue | EnumMember;

export const isKind = (value: unknown): value is Kind => typeof value === 'number' || value instanceof EnumType;
export const widthOf = (kind: Kind): Width => (typeof kind === 'number' ? kind : 32);

/** The number of a given value. */
export function numberOf(given: AnyGiven): Int | number | bigint {
  if (given instanceof EnumMember) return given.number;
  return given instanceof EnumValue ? given.u32() : given;
}

/** The number as a value of its kind. */
export const asKind = <K extends Kind>(kind: K, number: Int): ValueOf<K> =>
  (kind instanceof EnumType ? kind.of(number as Int<32>) : number) as ValueOf<K>;

/** The value that a register holds of which the verifier knows nothing. */
export const valueIn = <K extends Kind>(emitter: Emitter, kind: K, register: number): ValueOf<K> =>
  asKind(kind, new Int(emitter, widthOf(kind), register, UNKNOWN));
