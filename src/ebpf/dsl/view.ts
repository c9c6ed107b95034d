import type { AtomicName, ByteSize } from '../asm/opcode.ts';
import type { ArrayOf, Bytes, Scalar, ScalarName, Struct, Type } from '../btf/type.ts';
import { DslError } from '../errors.ts';
import type { Address, Operand } from '../ir/ir.ts';
import { CallSite } from '../source-location.ts';
import { both, Condition } from './condition.ts';
import type { Emitter, Test } from './emitter.ts';
import { Int, Network, type NetworkWidth, operandFor, type Width } from './int.ts';

type WidthOf<Name extends ScalarName> = Name extends 'u8'
  ? 8
  : Name extends 'u16' | 'be16'
    ? 16
    : Name extends 'u32' | 'be32'
      ? 32
      : 64;

/** The value that a scalar in memory has in the kernel. */
export type ScalarValue<Name extends ScalarName> = Name extends `be${string}`
  ? Network<Extract<WidthOf<Name>, NetworkWidth>>
  : Int<WidthOf<Name>>;

/** What reading a type gives in the kernel. */
export type ValueOf<T extends Type> =
  T extends Scalar<infer Name>
    ? ScalarValue<Name>
    : T extends Bytes
      ? BytesValue
      : T extends ArrayOf<infer Element>
        ? Elements<Element>
        : T extends Struct<infer F>
          ? View<F>
          : never;

/** What can be written to a place of a type: a value of the kernel, or a literal (host order). */
export type Writable<T extends Type> =
  T extends Scalar<infer Name>
    ? ScalarValue<Name> | number | bigint
    : T extends Bytes
      ? BytesValue | Uint8Array
      : T extends Struct<infer F>
        ? { readonly [K in keyof F]?: Writable<F[K]> }
        : never;

/** A structure in memory: fields read at once where they are named; `set` writes some; `ref` names the place of one. */
export type View<F extends Readonly<Record<string, Type>>> = { readonly [K in keyof F]: ValueOf<F[K]> } & {
  set(values: { readonly [K in keyof F]?: Writable<F[K]> }): void;
  ref<K extends keyof F>(field: K): F[K] extends Scalar<infer Name> ? Ref<Name> : never;
};

/** Memory that a view looks at, and what has to hold whenever it is used. */
export interface Memory {
  readonly emitter: Emitter;
  readonly address: Address;
  /** What the memory is called in dumps. */
  readonly name: string;
  /** @throws DslError when the view is no longer valid. */
  check(): void;
}

const within = (memory: Memory, offset: number, name: string): Memory => ({
  ...memory,
  name,
  address: { ...memory.address, offset: memory.address.offset + offset },
});

function load(memory: Memory, size: ByteSize): number {
  memory.check();
  const dst = memory.emitter.vreg();
  memory.emitter.emit({ op: 'load', size, dst, from: memory.address, note: memory.name });
  return dst;
}

function store(memory: Memory, size: ByteSize, src: Operand): void {
  memory.check();
  memory.emitter.emit({ op: 'store', size, to: memory.address, src, note: memory.name });
}

/** The value of a scalar that has been loaded. */
function scalarValue(emitter: Emitter, { name, size }: Scalar, operand: Operand): Int | Network {
  const width = (size * 8) as Width;
  return name.startsWith('be')
    ? new Network(emitter, width as NetworkWidth, operand)
    : new Int(emitter, width, operand);
}

function scalarOperand({ name, size }: Scalar, emitter: Emitter, value: Int | Network | number | bigint): Operand {
  const width = (size * 8) as Width;
  const isNetwork = name.startsWith('be');
  if (typeof value === 'object') return operandFor(emitter, width, value);
  const number = new Int(emitter, width, operandFor(emitter, width, value));
  return isNetwork ? (number as Int<32>).toNetwork().operand() : number.operand();
}

/** The chunks of 8, 4, 2 and 1 bytes in which `size` bytes are moved. */
function chunks(size: number): { offset: number; size: ByteSize }[] {
  const list: { offset: number; size: ByteSize }[] = [];
  for (let offset = 0; offset < size;) {
    const chunk = ([8, 4, 2, 1] as const).find((width) => width <= size - offset && offset % width === 0) ?? 1;
    list.push({ offset, size: chunk });
    offset += chunk;
  }
  return list;
}

/** Bytes that were read: they can be compared, and written elsewhere. */
export class BytesValue {
  readonly size: number;
  readonly #emitter: Emitter;
  readonly #parts: readonly { readonly offset: number; readonly size: ByteSize; readonly value: Int }[];

  constructor(memory: Memory, size: number) {
    this.size = size;
    this.#emitter = memory.emitter;
    this.#parts = chunks(size).map((part) => {
      const operand = load(within(memory, part.offset, memory.name), part.size);
      return { ...part, value: new Int(memory.emitter, (part.size * 8) as Width, operand) };
    });
  }

  /** The bytes as 32-bit words as they lie in memory; the size must be a multiple of four. */
  words(): Int<32>[] {
    if (this.size % 4 !== 0) {
      throw new DslError(`read words: ${String(this.size)} bytes are not a multiple of four`, new CallSite().location);
    }
    return this.#parts.flatMap(({ value }) =>
      value.width === 64 ? [value.u32(), (value as Int<64>).shr(32).u32()] : [value.u32()],
    );
  }

  eq(other: BytesValue | Uint8Array): Condition {
    const tests = this.#parts.map(({ offset, size, value }): Test => {
      const b = other instanceof Uint8Array ? bytesConstant(other, offset, size) : other.part(offset).operand();
      return { kind: 'compare', compare: 'eq', width: size === 8 ? 64 : 32, a: value.operand(), b };
    });
    return new Condition(
      this.#emitter,
      tests.reduce((left, right) => both('and', left, right)),
    );
  }

  /** The value of the chunk that begins at `offset`. */
  part(offset: number): Int {
    const part = this.#parts.find((candidate) => candidate.offset === offset);
    if (!part)
      throw new DslError(`use bytes: ${String(this.size)} bytes where another size is needed`, new CallSite().location);
    return part.value;
  }
}

function bytesConstant(from: Uint8Array, offset: number, size: number): bigint {
  let value = 0n;
  for (let at = offset + size - 1; at >= offset; at--) value = (value << 8n) | BigInt(from[at] ?? 0);
  return value;
}

function storeBytes(memory: Memory, size: number, value: BytesValue | Uint8Array): void {
  const length = value instanceof Uint8Array ? value.length : value.size;
  if (length !== size) {
    throw new DslError(
      `set ${memory.name}: ${String(length)} bytes given, ${String(size)} needed`,
      new CallSite().location,
    );
  }
  for (const part of chunks(size)) {
    const src =
      value instanceof Uint8Array ? bytesConstant(value, part.offset, part.size) : value.part(part.offset).operand();
    store(within(memory, part.offset, memory.name), part.size, src);
  }
}

/** The place of a number in memory: for atomic operations, and where reading and writing belong together. */
export class Ref<Name extends ScalarName = ScalarName> {
  readonly #memory: Memory;
  readonly #type: Scalar;

  constructor(memory: Memory, type: Scalar) {
    this.#memory = memory;
    this.#type = type;
  }

  get(): ScalarValue<Name> {
    return readType(this.#memory, this.#type) as ScalarValue<Name>;
  }
  set(value: ScalarValue<Name> | number | bigint): void {
    writeType(this.#memory, this.#type, value);
  }
  /** Writes bits as they are to lie in memory: for checksums and copied words, where the byte order does not matter. */
  setRaw(value: Int<WidthOf<Name>>): void {
    store(this.#memory, this.#type.size, value.operand());
  }
  /** Reads, adds and writes, with no care for other CPUs: right for what each CPU has for itself. */
  add(value: ScalarValue<Name> | number | bigint): void {
    this.set((this.get() as Int).add(value as Int) as ScalarValue<Name>);
  }

  atomicAdd(value: ScalarValue<Name> | number | bigint): void {
    this.#atomic('add', value, false);
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
  fetchAdd(value: ScalarValue<Name> | number | bigint): ScalarValue<Name> {
    return this.#atomic('add', value, true);
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
  /** Writes `value` where the place holds `expected`; gives what it held. */
  compareExchange(
    expected: ScalarValue<Name> | number | bigint,
    value: ScalarValue<Name> | number | bigint,
  ): ScalarValue<Name> {
    return this.#atomic('cmpxchg', value, true, expected);
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
    const operand = (given: unknown): Operand => scalarOperand(this.#type, emitter, given as Int);
    const src = operand(value);
    const compared = expected === undefined ? {} : { expected: operand(expected) };
    const result = fetch ? { dst: emitter.vreg() } : {};
    emitter.emit({ op: 'atomic', kind, size, to: address, src, ...result, ...compared, note: name });
    return scalarValue(emitter, this.#type, result.dst ?? 0n) as ScalarValue<Name>;
  }
}

/** The elements of an array in memory. An index that is not a constant must be known to stay inside. */
export class Elements<Element extends Type = Type> {
  readonly #memory: Memory;
  readonly #type: ArrayOf<Element>;

  constructor(memory: Memory, type: ArrayOf<Element>) {
    this.#memory = memory;
    this.#type = type;
  }

  at(index: number | Int): ValueOf<Element> {
    return readType(this.#place(index), this.#type.element) as ValueOf<Element>;
  }

  ref(index: number | Int): Element extends Scalar<infer Name> ? Ref<Name> : never {
    return new Ref(this.#place(index), this.#type.element as Scalar) as never;
  }

  #place(index: number | Int): Memory {
    const { element, length } = this.#type;
    const largest = typeof index === 'number' ? BigInt(index) : index.max;
    if (largest >= BigInt(length)) {
      throw new DslError(
        `use ${this.#memory.name}: the index may reach ${String(largest)} and the array has ${String(length)} elements; ` +
          'narrow it with and(...) or mod(...)',
        new CallSite().location,
      );
    }
    if (typeof index === 'number')
      return within(this.#memory, index * element.size, `${this.#memory.name}[${String(index)}]`);
    const { emitter, address } = this.#memory;
    this.#memory.check();
    const distance = index.u64().mul(element.size).operand();
    const base = emitter.vreg();
    const start = typeof address.base === 'number' ? address.base : emitter.frameAddress(address.base.slot);
    emitter.emit({ op: 'alu', alu: 'add', width: 64, dst: base, a: start, b: distance });
    return { ...this.#memory, name: `${this.#memory.name}[]`, address: { base, offset: address.offset } };
  }
}

/** Reads a value, or gives the view of what has parts. */
export function readType(memory: Memory, type: Type): unknown {
  switch (type.kind) {
    case 'scalar':
      return scalarValue(memory.emitter, type, load(memory, type.size));
    case 'bytes':
      return new BytesValue(memory, type.size);
    case 'array':
      return new Elements(memory, type);
    case 'struct':
      return viewOf(memory, type as Struct);
  }
}

export function writeType(memory: Memory, type: Type, value: unknown): void {
  switch (type.kind) {
    case 'scalar':
      return store(memory, type.size, scalarOperand(type, memory.emitter, value as Int));
    case 'bytes':
      return storeBytes(memory, type.size, value as BytesValue | Uint8Array);
    case 'struct':
      for (const [field, given] of Object.entries(value as Record<string, unknown>)) {
        const fieldType = type.fields[field];
        if (!fieldType) throw new DslError(`set ${memory.name}: it has no field ${field}`, new CallSite().location);
        writeType(within(memory, type.offsets[field]!, `${memory.name}.${field}`), fieldType, given);
      }
      return;
    case 'array':
      throw new DslError(
        `set ${memory.name}: an array is written element by element, with ref(i).set(...)`,
        new CallSite().location,
      );
  }
}

const MEMORY = Symbol('memory');

/** The memory behind a view. */
export function memoryOf(view: object): Memory {
  return (view as { [MEMORY]: Memory })[MEMORY];
}

const viewClasses = new WeakMap<Struct, new (memory: Memory) => object>();

/** One class a struct, with a getter a field, so that a view costs one small object. */
function viewClass(type: Struct): new (memory: Memory) => object {
  let known = viewClasses.get(type);
  if (known) return known;
  const place = (memory: Memory, field: string): Memory =>
    within(memory, type.offsets[field]!, `${memory.name}.${field}`);
  known = class {
    readonly [MEMORY]: Memory;
    constructor(memory: Memory) {
      this[MEMORY] = memory;
    }
    set(values: Record<string, unknown>): void {
      writeType(this[MEMORY], type, values);
    }
    ref(field: string): Ref {
      return new Ref(place(this[MEMORY], field), type.fields[field] as Scalar);
    }
  };
  for (const [field, fieldType] of Object.entries(type.fields)) {
    Object.defineProperty(known.prototype, field, {
      get(this: { [MEMORY]: Memory }) {
        return readType(place(this[MEMORY], field), fieldType);
      },
    });
  }
  viewClasses.set(type, known);
  return known;
}

export function viewOf<F extends Readonly<Record<string, Type>>>(memory: Memory, type: Struct<F>): View<F> {
  const Class = viewClass(type);
  return new Class(memory) as View<F>;
}
