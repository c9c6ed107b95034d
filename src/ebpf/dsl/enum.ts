import { DslError } from '../errors.ts';
import { CallSite } from '../source-location.ts';
import type { Condition } from './condition.ts';
import type { Int, IntVariable } from './int.ts';

/** A name of an enum: it belongs to no program, so any can use it. User space has its `number`. */
export class EnumMember<N extends string = string> {
  readonly enum: N;
  readonly name: string;
  readonly number: number;

  constructor(of: N, name: string, number: number) {
    this.enum = of;
    this.name = name;
    this.number = number;
    Object.freeze(this);
  }
}

/** One of an enum's names in the kernel, in 32 bits. It compares with values and members of the same enum only. */
export class EnumValue<N extends string = string> {
  readonly enum: N;
  readonly #number: Int<32>;

  constructor(of: N, number: Int<32>) {
    this.enum = of;
    this.#number = number;
  }

  eq(other: EnumValue<N> | EnumMember<N>): Condition {
    return this.#number.eq(numberOf(other));
  }
  ne(other: EnumValue<N> | EnumMember<N>): Condition {
    return this.#number.ne(numberOf(other));
  }
  /** Whether it is one of these; never, when there are none. */
  oneOf(members: readonly EnumMember<N>[]): Condition {
    return this.#number.oneOf(members.map(({ number }) => number));
  }

  /** Its number, to store or to calculate with. */
  u32(): Int<32> {
    return this.#number;
  }
}

/** A variable over an enum: `set` changes it. */
export class EnumVariable<N extends string = string> extends EnumValue<N> {
  readonly #variable: IntVariable<32>;

  constructor(of: N, variable: IntVariable<32>) {
    super(of, variable);
    this.#variable = variable;
  }

  override u32(): Int<32> {
    return this.#variable.value;
  }

  /** Its value at this place; a later `set` does not change it. */
  get value(): EnumValue<N> {
    return new EnumValue(this.enum, this.#variable.value);
  }

  set(value: EnumValue<N> | EnumMember<N>): void {
    this.#variable.set(numberOf(value));
  }
}

/** A closed list of names with fixed numbers: its members by name. */
export type Enum<N extends string = string, K extends string = string> = EnumType<N> & {
  readonly [Name in K]: EnumMember<N>;
};

/** What all enums share. */
export class EnumType<N extends string = string> {
  readonly enum: N;

  constructor(of: N) {
    this.enum = of;
  }

  /** A number that was stored as one of this enum's, from a map or a function. It is not checked. */
  of(number: Int<32>): EnumValue<N> {
    return new EnumValue(this.enum, number.value);
  }
}

/** Declares an enum. Its name tells its values from those of other enums. @throws DslError for a number given twice or beyond 32 bits. */
export function enumOf<const N extends string, const K extends string>(
  name: N,
  numbers: Readonly<Record<K, number>>,
): Enum<N, K> {
  const entries = Object.entries<number>(numbers);
  const type = new EnumType(name);
  const seen = new Map<number, string>();
  const refuse = (member: string, why: string): never => {
    throw new DslError(`declare enum ${name}: ${member} ${why}`, new CallSite().location);
  };
  for (const [member, number] of entries) {
    if (member in type) refuse(member, 'is a name that every enum has');
    if (number !== number >>> 0) refuse(member, `is ${String(number)}, which is not a whole number of 32 bits`);
    const twin = seen.get(number);
    if (twin !== undefined) refuse(member, `is ${String(number)}, as ${twin} is`);
    seen.set(number, member);
  }
  const members = entries.map(([member, number]) => [member, new EnumMember(name, member, number)]);
  return Object.freeze(Object.assign(type, Object.fromEntries(members))) as Enum<N, K>;
}

/** The number of a member or a value. */
const numberOf = (value: EnumValue | EnumMember): Int<32> | number =>
  value instanceof EnumMember ? value.number : value.u32();
