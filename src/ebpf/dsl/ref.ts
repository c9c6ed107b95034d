import type { AtomicName } from '../asm/opcode.ts';
import type { Scalar, ScalarName } from '../btf/type.ts';
import { DslError } from '../errors.ts';
import type { Operand } from '../ir/ir.ts';
import { CallSite } from '../source-location.ts';
import { type Int, operandFor, type Width } from './int.ts';
import { load, type Memory, scalarOperand, scalarValue, type ScalarValue, store, type WidthOf } from './memory.ts';

/** Names of numbers in host order, which can be added to. */
type HostName = Exclude<ScalarName, `be${string}`>;

/** The place of a number in memory: for atomic operations, and where reading and writing belong together. */
export class Ref<Name extends ScalarName = ScalarName> {
  readonly #memory: Memory;
  readonly #type: Scalar;

  constructor(memory: Memory, type: Scalar) {
    this.#memory = memory;
    this.#type = type;
  }

  get(): ScalarValue<Name> {
    const { emitter } = this.#memory;
    return scalarValue(emitter, this.#type, load(this.#memory, this.#type.size)) as ScalarValue<Name>;
  }
  set(value: ScalarValue<Name> | number | bigint): void {
    store(this.#memory, this.#type.size, scalarOperand(this.#type, this.#memory.emitter, value));
  }
  /** Writes bits as they are to lie in memory: for checksums and copied words, where the byte order does not matter. */
  setRaw(value: Int<WidthOf<Name>>): void {
    const { size } = this.#type;
    store(this.#memory, size, operandFor(this.#memory.emitter, (size * 8) as Width, value));
  }
  /** Reads, adds and writes, with no care for other CPUs: right for what each CPU has for itself. */
  add(this: Ref<HostName>, value: ScalarValue<Name> | number | bigint): void {
    this.#refuseNetwork();
    this.set((this.get() as Int).add(value as Int) as Int<64>);
  }

  atomicAdd(this: Ref<HostName>, value: ScalarValue<Name> | number | bigint): void {
    this.#refuseNetwork();
    this.#atomic('add', value as Int<64>, false);
  }
  atomicAnd(value: ScalarValue<Name> | number | bigint): void {
    this.#atomic('and', value, false);
  }
  atomicOr(value: ScalarValue<Name> | number | bigint): void {
    this.#atomic('or', value, false);
  }
  atomicXor(value: ScalarValue<Name> | number | bigint): void {
    this.#atomic('xor', value, false);
  }
  /** These give the value from before. */
  fetchAdd(this: Ref<HostName>, value: ScalarValue<Name> | number | bigint): ScalarValue<Name> {
    this.#refuseNetwork();
    return (this as unknown as Ref<Name>).#atomic('add', value, true);
  }
  fetchAnd(value: ScalarValue<Name> | number | bigint): ScalarValue<Name> {
    return this.#atomic('and', value, true);
  }
  fetchOr(value: ScalarValue<Name> | number | bigint): ScalarValue<Name> {
    return this.#atomic('or', value, true);
  }
  fetchXor(value: ScalarValue<Name> | number | bigint): ScalarValue<Name> {
    return this.#atomic('xor', value, true);
  }
  exchange(value: ScalarValue<Name> | number | bigint): ScalarValue<Name> {
    return this.#atomic('xchg', value, true);
  }
  /** Writes `value` if the place holds `expected`; gives the old value. */
  compareExchange(
    expected: ScalarValue<Name> | number | bigint,
    value: ScalarValue<Name> | number | bigint,
  ): ScalarValue<Name> {
    return this.#atomic('cmpxchg', value, true, expected);
  }

  /** @throws DslError where adding would carry from one byte into the wrong neighbour. */
  #refuseNetwork(): void {
    const { name } = this.#type;
    if (!name.startsWith('be')) return;
    throw new DslError(
      `add to ${this.#memory.name}: it is ${name}, and network order has no arithmetic; read it with get().host() and write the sum`,
      new CallSite().location,
    );
  }

  #atomic(
    kind: AtomicName,
    value: ScalarValue<Name> | number | bigint,
    fetch: boolean,
    expected?: ScalarValue<Name> | number | bigint,
  ): ScalarValue<Name> {
    const { emitter, address, name } = this.#memory;
    const { size } = this.#type;
    if (size !== 4 && size !== 8) {
      throw new DslError(`use ${name} atomically: only 32- and 64-bit numbers can be`, new CallSite().location);
    }
    this.#memory.check();
    this.#memory.watch?.read(address.offset, size);
    const operand = (given: unknown): Operand => scalarOperand(this.#type, emitter, given as Int);
    const src = operand(value);
    const compared = expected === undefined ? {} : { expected: operand(expected) };
    const result = fetch ? { dst: emitter.vreg() } : {};
    emitter.emit({ op: 'atomic', kind, size, to: address, src, ...result, ...compared, note: name });
    return scalarValue(emitter, this.#type, result.dst ?? 0n) as ScalarValue<Name>;
  }
}
