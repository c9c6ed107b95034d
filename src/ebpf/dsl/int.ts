/** Numbers in registers. Over 300 lines for one reason: host and network order make each other. */
import type { AluName, ByteSize, CompareName } from '../asm/opcode.ts';
import { u32, u64 } from '../btf/type.ts';
import { DslError } from '../errors.ts';
import { foldAlu, foldCompare } from '../ir/fold.ts';
import type { Operand } from '../ir/ir.ts';
import { CallSite } from '../source-location.ts';
import { MapType } from '../uapi/constants.gen.ts';
import { both, Condition } from './condition.ts';
import type { Emitter, Scope, Test } from './emitter.ts';
import type { MapSpec } from './map.ts';

export type Width = 8 | 16 | 32 | 64;
export type NetworkWidth = 16 | 32 | 64;

const mask = (width: number): bigint => (1n << BigInt(width)) - 1n;

/** Of values that the verifier knows nothing about. */
export const UNKNOWN = mask(64);

/** Comparisons to which a negative number would be a huge one. */
const UNSIGNED: ReadonlySet<CompareName> = new Set<CompareName>(['lt', 'le', 'gt', 'ge']);

/** A literal in `width` bits; negative ones wrap. @throws DslError when it does not fit. */
function literal(width: Width, value: number | bigint): bigint {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    throw new DslError(
      `use number ${String(value)}: not a whole number that is exact; write a bigint`,
      new CallSite().location,
    );
  }
  if (typeof value !== 'number' && typeof value !== 'bigint') {
    throw new DslError(
      `use a value of type ${typeof value}: a number is needed; give an Int, a number or a bigint`,
      new CallSite().location,
    );
  }
  const wide = BigInt(value);
  if (wide > mask(width) || wide < -(1n << BigInt(width - 1))) {
    throw new DslError(`use number ${String(value)}: it does not fit ${String(width)} bits`, new CallSite().location);
  }
  return BigInt.asUintN(width, wide);
}

function swapBytes(value: bigint, width: NetworkWidth): bigint {
  let swapped = 0n;
  for (let at = 0; at < width; at += 8) swapped = (swapped << 8n) | ((value >> BigInt(at)) & 0xffn);
  return swapped;
}

/** Zero, where the verifier must not know that it is. No map of an author can have its name. */
const ZERO: MapSpec<typeof u32, typeof u64, 'array'> = Object.freeze({
  kind: 'array',
  name: 'dsl.zero',
  type: MapType.ARRAY,
  key: u32,
  value: u64,
  maxEntries: 1,
  flags: 0,
  perCpu: false,
});

/** A value in a register, or a constant: what integers of both byte orders share. */
abstract class Value {
  readonly emitter: Emitter;
  /**
   * The largest value that the verifier thinks it can have, of the bits as they lie in the register. It may lie beyond the width: the
   * verifier forgets what it knew across byte swaps, divisions and shifts by a value.
   */
  readonly max: bigint;
  readonly #operand: Operand;
  readonly #scope: Scope;

  constructor(emitter: Emitter, operand: Operand, max: bigint) {
    this.emitter = emitter;
    this.max = typeof operand === 'bigint' ? operand : max;
    this.#operand = operand;
    this.#scope = emitter.scope;
  }

  /** Its number, where it is known while building: as it lies in the register. */
  get constant(): bigint | undefined {
    return typeof this.#operand === 'bigint' ? this.#operand : undefined;
  }

  /** What a plain `+` or `>` asks for. @throws DslError: the kernel alone knows the number, and JavaScript would take NaN for it. */
  [Symbol.toPrimitive](): never {
    throw new DslError(
      'calculate with a value of the kernel by an operator of JavaScript: write value.add(1), $.if(value.gt(1), ...); what is known while building is value.constant',
      new CallSite().location,
    );
  }

  /** The register or constant, for use at this place. A variable gives a copy, so that later writes do not show through. */
  operand(): Operand {
    if (this.constant === undefined) this.emitter.checkUsable(this.#scope);
    return this.#operand;
  }

  protected condition(test: Test): Condition {
    return new Condition(this.emitter, test);
  }

  /** The operand for use in a function; constants are everywhere the same. @throws DslError when the value belongs to another one. */
  operandIn(emitter: Emitter): Operand {
    if (emitter !== this.emitter && this.constant === undefined) emitter.refuseForeign();
    return this.operand();
  }
}

/**
 * An unsigned number of 8, 16, 32 or 64 bits in host order. Arithmetic wraps at its width. Widths do not mix: widen or
 * narrow with `u8()` to `u64()`.
 */
export class Int<W extends Width = Width> extends Value {
  readonly width: W;

  constructor(emitter: Emitter, width: W, operand: Operand, max: bigint = mask(width)) {
    super(emitter, operand, max);
    this.width = width;
  }

  /** The value that it has here; a later `set` of a variable does not change it. */
  get value(): Int<W> {
    return this;
  }

  add(other: Int<W> | number | bigint): Int<W> {
    return this.#binary('add', other, (b) => this.max + b);
  }
  sub(other: Int<W> | number | bigint): Int<W> {
    return this.#binary('sub', other, (b) => (b === 0n ? this.max : mask(this.width) + 1n));
  }
  mul(other: Int<W> | number | bigint): Int<W> {
    return this.#binary('mul', other, (b) => this.max * b);
  }
  /** Unsigned; a division by zero gives 0, as the kernel has it. */
  div(other: Int<W> | number | bigint): Int<W> {
    return this.#binary('div', other, () => this.#forgotten());
  }
  /** Unsigned; the remainder of a division by zero is the dividend, as the kernel has it. */
  mod(other: Int<W> | number | bigint): Int<W> {
    return this.#binary('mod', other, () => this.#forgotten());
  }
  and(other: Int<W> | number | bigint): Int<W> {
    return this.#binary('and', other, (b) => (b < this.max ? b : this.max));
  }
  or(other: Int<W> | number | bigint): Int<W> {
    return this.#binary('or', other, (b) => mask((this.max | b).toString(2).length));
  }
  xor(other: Int<W> | number | bigint): Int<W> {
    return this.#binary('xor', other, (b) => mask((this.max | b).toString(2).length));
  }
  /** Shift amounts count modulo 64 for 64-bit values, modulo 32 for all others. */
  shl(amount: Int<W> | number): Int<W> {
    return this.#binary('lsh', amount, (b) => (typeof amount === 'number' ? this.max << b : mask(this.width) + 1n));
  }
  /** Fills with zeros. */
  shr(amount: Int<W> | number): Int<W> {
    return this.#binary('rsh', amount, (b) => (typeof amount === 'number' ? this.max >> b : this.#forgotten()));
  }
  /** Fills with the sign bit. */
  sar(this: Int<32> | Int<64>, amount: number): Int<W> {
    return (this as Int<W>).#binary('arsh', amount, () => (this as Int<W>).#forgotten());
  }
  /** Every bit turned over. */
  not(): Int<W> {
    return this.xor(mask(this.width));
  }

  eq(other: Int<W> | number | bigint): Condition {
    return this.#compare('eq', other);
  }
  ne(other: Int<W> | number | bigint): Condition {
    return this.#compare('ne', other);
  }
  lt(other: Int<W> | number | bigint): Condition {
    return this.#compare('lt', other);
  }
  le(other: Int<W> | number | bigint): Condition {
    return this.#compare('le', other);
  }
  gt(other: Int<W> | number | bigint): Condition {
    return this.#compare('gt', other);
  }
  ge(other: Int<W> | number | bigint): Condition {
    return this.#compare('ge', other);
  }
  /** Signed comparisons read both sides as two's complement. */
  slt(this: Int<32> | Int<64>, other: Int<W> | number | bigint): Condition {
    return (this as Int<W>).#compare('slt', other);
  }
  sle(this: Int<32> | Int<64>, other: Int<W> | number | bigint): Condition {
    return (this as Int<W>).#compare('sle', other);
  }
  sgt(this: Int<32> | Int<64>, other: Int<W> | number | bigint): Condition {
    return (this as Int<W>).#compare('sgt', other);
  }
  sge(this: Int<32> | Int<64>, other: Int<W> | number | bigint): Condition {
    return (this as Int<W>).#compare('sge', other);
  }
  /** Whether any of the bits is set. */
  hasAny(bits: Int<W> | number | bigint): Condition {
    return this.#compare('set', bits);
  }
  /** Whether it is one of the numbers; never, when there are none. */
  oneOf(values: readonly (number | bigint)[]): Condition {
    const operand = this.operand();
    const tests = values.map((value) => this.#test('eq', operand, literal(this.width, value)));
    return this.condition(tests.reduce((left, right) => both('or', left, right), { kind: 'constant', value: false }));
  }

  /** The low 8 bits. */
  u8(): Int<8> {
    return this.#resize(8);
  }
  /** The low 16 bits, or the same value with zeros above. */
  u16(): Int<16> {
    return this.#resize(16);
  }
  u32(): Int<32> {
    return this.#resize(32);
  }
  u64(): Int<64> {
    return this.#resize(64);
  }

  /**
   * The same number, of which the verifier forgets what it knew. It follows every path with the numbers that it knows there, so paths
   * that differ only in a number (how long a header was, how often a loop ran) multiply; numbers that it does not know are all alike.
   */
  forget(): Int<W> {
    const { emitter, width } = this;
    const [place, zero] = [emitter.vreg(), emitter.vreg()];
    emitter.useMap(ZERO);
    emitter.emit({ op: 'mapValue', dst: place, map: ZERO.name, offset: 0 });
    // A load of its own each time: the verifier links copies of one load, and learns about all of them together.
    const size = (width / 8) as ByteSize;
    emitter.emit({ op: 'load', size, dst: zero, from: { base: place, offset: 0 }, note: 'forget' });
    return new Int(emitter, width, zero).xor(this);
  }

  /** The same number in network order. */
  toNetwork(this: Int<16> | Int<32> | Int<64>): Network<W & NetworkWidth> {
    return new Network(
      this.emitter,
      this.width,
      swapped(this.emitter, this.operand(), this.width),
      UNKNOWN,
    ) as Network<never>;
  }

  /** The maximum that the verifier still knows after an operation that it does not track. */
  #forgotten(): bigint {
    return this.width === 64 ? UNKNOWN : mask(32);
  }

  #other(other: Int<W> | number | bigint): Int<W> {
    if (other instanceof Int) {
      if (other.width === this.width) return other;
      throw new DslError(
        `combine u${String(this.width)} with u${String(other.width)}: widths do not mix; widen or narrow one of them`,
        new CallSite().location,
      );
    }
    return new Int(this.emitter, this.width, literal(this.width, other));
  }

  #binary(alu: AluName, other: Int<W> | number | bigint, maximum: (b: bigint) => bigint): Int<W> {
    const { emitter, width } = this;
    const right = this.#other(other);
    const [a, b] = [this.operand(), right.operandIn(this.emitter)];
    if (typeof b === 'bigint') {
      const settled = this.#settle(alu, a, b);
      if (settled) return settled;
    }
    const exact = maximum(right.max);
    const dst = emitter.vreg();
    emitter.emit({ op: 'alu', alu, width: width === 64 ? 64 : 32, dst, a, b });
    const canOverflow = alu === 'add' || alu === 'sub' || alu === 'mul' || alu === 'lsh';
    if (!canOverflow || exact <= mask(width)) return new Int(emitter, width, dst, exact);
    if (width === 8 || width === 16) {
      const narrowed = emitter.vreg();
      emitter.emit({ op: 'alu', alu: 'and', width: 32, dst: narrowed, a: dst, b: mask(width) });
      return new Int(emitter, width, narrowed);
    }
    return new Int(emitter, width, dst);
  }

  /** Folds constants, and takes cheaper forms of operations with a constant. */
  #settle(alu: AluName, a: Operand, b: bigint): Int<W> | undefined {
    const { emitter, width } = this;
    const shifts = alu === 'lsh' || alu === 'rsh' || alu === 'arsh';
    if (shifts && b >= BigInt(Math.max(width, 32))) {
      throw new DslError(`shift by ${String(b)}: a u${String(width)} has fewer bits`, new CallSite().location);
    }
    if (typeof a === 'bigint')
      return new Int(emitter, width, BigInt.asUintN(width, foldAlu(alu, width === 64 ? 64 : 32, a, b)));
    const same = (): Int<W> => new Int(emitter, width, a, this.max);
    const zero = (): Int<W> => new Int(emitter, width, 0n);
    const powerOfTwo = b > 0n && (b & (b - 1n)) === 0n ? b.toString(2).length - 1 : undefined;
    if (b === 0n) {
      if (alu === 'and' || alu === 'mul' || alu === 'div') return zero();
      return same(); // adding, shifting by zero, and the remainder that the kernel defines
    }
    if (alu === 'and' && b === mask(32) && width === 64) return this.u32().u64() as Int<never>;
    if (alu === 'and' && b >= this.max && b === mask(b.toString(2).length)) return same();
    if (b === 1n && (alu === 'mul' || alu === 'div')) return same();
    if (powerOfTwo !== undefined) {
      if (alu === 'mul') return this.shl(powerOfTwo);
      if (alu === 'div') return this.shr(powerOfTwo);
      if (alu === 'mod') return this.and(b - 1n);
    }
    return undefined;
  }

  #compare(compare: CompareName, other: Int<W> | number | bigint): Condition {
    if (typeof other !== 'object' && other < 0 && UNSIGNED.has(compare)) {
      throw new DslError(
        `compare with ${String(other)}, unsigned: no value is below zero; s${compare} and its like compare signed numbers`,
        new CallSite().location,
      );
    }
    const right = this.#other(other);
    return this.condition(this.#test(compare, this.operand(), right.operandIn(this.emitter)));
  }

  #test(compare: CompareName, a: Operand, b: Operand): Test {
    if (typeof a === 'bigint' && typeof b === 'bigint') {
      return { kind: 'constant', value: foldCompare(compare, this.width === 64 ? 64 : 32, a, b) };
    }
    if (typeof b === 'bigint' && b > this.max) {
      if (compare === 'eq' || compare === 'gt' || compare === 'ge') return { kind: 'constant', value: false };
      if (compare === 'ne' || compare === 'lt' || compare === 'le') return { kind: 'constant', value: true };
    }
    return { kind: 'compare', compare, width: this.width === 64 ? 64 : 32, a, b };
  }

  #resize<To extends Width>(to: To): Int<To> {
    const { emitter } = this;
    const operand = this.operand();
    if (typeof operand === 'bigint') return new Int(emitter, to, operand & mask(to));
    if (to >= this.width || this.max <= mask(to)) return new Int(emitter, to, operand, this.max);
    const dst = emitter.vreg();
    if (to === 32) emitter.emit({ op: 'truncate', dst, src: operand });
    else emitter.emit({ op: 'alu', alu: 'and', width: 32, dst, a: operand, b: mask(to) });
    return new Int(emitter, to, dst);
  }
}

function swapped(emitter: Emitter, operand: Operand, width: NetworkWidth): Operand {
  if (typeof operand === 'bigint') return swapBytes(operand, width);
  const dst = emitter.vreg();
  emitter.emit({ op: 'swap', bits: width, dst, a: operand });
  return dst;
}

/**
 * A number in network order. It compares with host-order literals at no cost, because they are swapped while building;
 * arithmetic needs `.host()`.
 */
export class Network<W extends NetworkWidth = NetworkWidth> extends Value {
  readonly network = true;
  readonly width: W;

  constructor(emitter: Emitter, width: W, operand: Operand, max: bigint = mask(width)) {
    super(emitter, operand, max);
    this.width = width;
  }

  /** The value that it has here; a later `set` of a variable does not change it. */
  get value(): Network<W> {
    return this;
  }

  /** The number in host order. */
  host(): Int<W> {
    return new Int(this.emitter, this.width, swapped(this.emitter, this.operand(), this.width), UNKNOWN);
  }

  /** The bits as they lie in memory, for hashing and checksums, where the order does not matter. */
  raw(): Int<W> {
    return new Int(this.emitter, this.width, this.operand(), this.max);
  }

  eq(other: Network<W> | number | bigint): Condition {
    return this.raw().eq(this.#raw(other));
  }
  ne(other: Network<W> | number | bigint): Condition {
    return this.raw().ne(this.#raw(other));
  }
  /** Whether any of the bits, given in host order, is set. */
  hasAny(bits: number | bigint): Condition {
    return this.raw().hasAny(this.#raw(bits));
  }
  oneOf(values: readonly (number | bigint)[]): Condition {
    return this.raw().oneOf(values.map((value) => swapBytes(literal(this.width, value), this.width)));
  }
  and(bits: Network<W> | number | bigint): Network<W> {
    const masked = this.raw().and(this.#raw(bits));
    return new Network(this.emitter, this.width, masked.operand(), masked.max);
  }

  #raw(other: Network<W> | number | bigint): Int<W> | bigint {
    return other instanceof Network ? other.raw() : swapBytes(literal(this.width, other), this.width);
  }
}

/** A variable: reading it gives the value it has at that place, `set` changes it. */
export class IntVariable<W extends Width> extends Int<W> {
  override get value(): Int<W> {
    return new Int(this.emitter, this.width, this.operand(), this.max);
  }

  set(value: Int<W> | number | bigint): void {
    const src = operandFor(this.emitter, this.width, value);
    this.emitter.emit({ op: 'mov', dst: super.operand() as number, src });
  }

  override operand(): Operand {
    return copied(this.emitter, super.operand());
  }
}

/** A variable in network order. */
export class NetworkVariable<W extends NetworkWidth> extends Network<W> {
  override get value(): Network<W> {
    return new Network(this.emitter, this.width, this.operand(), this.max);
  }

  set(value: Network<W>): void {
    const src = operandFor(this.emitter, this.width, value);
    this.emitter.emit({ op: 'mov', dst: super.operand() as number, src });
  }

  override operand(): Operand {
    return copied(this.emitter, super.operand());
  }
}

export function copied(emitter: Emitter, src: Operand): number {
  const dst = emitter.vreg();
  emitter.emit({ op: 'mov', dst, src });
  return dst;
}

/** The operand of a value or literal for a place of `width` bits. @throws DslError for a value of another width. */
export function operandFor(emitter: Emitter, width: Width, value: Int | Network | number | bigint): Operand {
  if (!(value instanceof Int || value instanceof Network)) return literal(width, value);
  if (value.width === width) return value.operandIn(emitter);
  throw new DslError(
    `use u${String(value.width)} for u${String(width)}: widths do not mix; widen or narrow it`,
    new CallSite().location,
  );
}
