import {
  type ArrayOf,
  type Bytes,
  dataFields,
  type Opaque,
  type OpaqueName,
  type Scalar,
  type Struct,
  type Type,
} from '../btf/type.ts';
import { DslError } from '../errors.ts';
import { CallSite } from '../source-location.ts';
import { BytesValue, storeBytes } from './bytes-value.ts';
import type { Int } from './int.ts';
import {
  frameAlignment,
  load,
  type Memory,
  scalarOperand,
  scalarValue,
  type ScalarValue,
  store,
  within,
} from './memory.ts';
import { Ref } from './ref.ts';

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
        ? { readonly [K in keyof F as F[K] extends Opaque ? never : K]?: Writable<F[K]> }
        : never;

/** The values of a type that were read at one time. */
export type Snapshot<T extends Type> =
  T extends ArrayOf<infer Element>
    ? readonly Snapshot<Element>[]
    : T extends Struct<infer F>
      ? { readonly [K in keyof F as F[K] extends Opaque ? never : K]: Snapshot<F[K]> }
      : ValueOf<T>;
/** What can be a key or value of a map: what can be written, or a structure in memory. */
export type ElementOf<T extends Type> = Writable<T> | (T extends Struct<infer F> ? View<F> : never);

declare const opaqueFields: unique symbol;

/** A view of a struct with such a field of the kernel's own. */
export interface ViewWith<Name extends OpaqueName> {
  readonly [opaqueFields]: { readonly [N in Name]: true };
}

type OpaqueNames<F> = { [K in keyof F]: F[K] extends Opaque<infer Name> ? Name : never }[keyof F];

/** A structure in memory: fields read at once where they are named; `set` writes some; `ref` names the place of one. */
export type View<F extends Readonly<Record<string, Type>>> = {
  readonly [K in keyof F as F[K] extends Opaque ? never : K]: ValueOf<F[K]>;
} & ViewWith<OpaqueNames<F>> & {
    set(values: Writable<Struct<F>>): void;
    /** A snapshot of all fields: later writes do not change it. Unused fields cost nothing. */
    read(): Snapshot<Struct<F>>;
    ref<K extends keyof F>(field: K): F[K] extends Scalar<infer Name> ? Ref<Name> : never;
  };

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
    if (typeof index === 'number' && (!Number.isInteger(index) || index < 0)) {
      throw new DslError(
        `use ${this.#memory.name}: the index ${String(index)} is not a whole number from 0 on`,
        new CallSite().location,
      );
    }
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
    this.#memory.watch?.read();
    const distance = index.u64().mul(element.size).operand();
    const base = emitter.vreg();
    const start = typeof address.base === 'number' ? address.base : emitter.frameAddress(address.base.slot);
    emitter.emit({ op: 'alu', alu: 'add', width: 64, dst: base, a: start, b: distance });
    const { watch: _watch, ...memory } = this.#memory;
    const place = { ...memory, name: `${this.#memory.name}[]`, address: { base, offset: address.offset } };
    const aligned = frameAlignment(this.#memory);
    // The lowest bit of the element's size is what all of its multiples are aligned to.
    return aligned === undefined
      ? place
      : { ...place, frameAlignment: Math.min(aligned, element.size & -element.size) };
  }
}

/** Reads a scalar or bytes; of a struct or an array gives the view. */
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
    case 'opaque':
      return refuseOpaque('read', memory);
  }
}

/** Reads a value with all its parts. */
export function snapshot(memory: Memory, type: Type): unknown {
  if (type.kind === 'struct') {
    const parts = dataFields(type).map(([field, of]) => [field, snapshot(fieldOf(memory, type, field), of)]);
    return Object.fromEntries(parts);
  }
  if (type.kind !== 'array') return readType(memory, type);
  return Array.from({ length: type.length }, (_, index) =>
    snapshot(within(memory, index * type.element.size, `${memory.name}[${String(index)}]`), type.element),
  );
}

const fieldOf = (memory: Memory, type: Struct, field: string): Memory =>
  within(memory, type.offsets[field]!, `${memory.name}.${field}`);

function refuseOpaque(action: string, { name }: Memory): never {
  throw new DslError(`${action} ${name}: the kernel alone reads and writes it`, new CallSite().location);
}

export function writeType(memory: Memory, type: Type, value: unknown): void {
  switch (type.kind) {
    case 'scalar':
      return store(memory, type.size, scalarOperand(type, memory.emitter, value as Int));
    case 'bytes':
      return storeBytes(memory, type.size, value as BytesValue | Uint8Array);
    case 'struct':
      if (typeof value !== 'object' || value === null)
        throw new DslError(`set ${memory.name}: give an object of its fields, or a view`, new CallSite().location);
      for (const [field, given] of partsOf(type, value)) {
        const fieldType = type.fields[field];
        if (!fieldType) throw new DslError(`set ${memory.name}: it has no field ${field}`, new CallSite().location);
        if (given === undefined) continue;
        writeType(fieldOf(memory, type, field), fieldType, given);
      }
      return;
    case 'opaque':
      return refuseOpaque('set', memory);
    case 'array':
      throw new DslError(
        `set ${memory.name}: an array is written element by element, with ref(i).set(...)`,
        new CallSite().location,
      );
  }
}

/** The parts of a value for a struct, by field: a view has its fields as getters. @throws DslError for a view of another struct that lacks some. */
function partsOf(type: Struct, value: object): [string, unknown][] {
  if (!isView(value)) return Object.entries(value);
  const given = structOf(value);
  const names = Object.keys(type.fields);
  const lacking = names.find((name) => !(name in given.fields));
  if (lacking !== undefined) {
    throw new DslError(
      `write ${type.name}: a view of ${given.name} has no field ${lacking}; name the fields one by one`,
      new CallSite().location,
    );
  }
  return names.map((field) => [field, (value as Record<string, unknown>)[field]]);
}

const MEMORY = Symbol('memory');

const isView = (value: unknown): value is object => typeof value === 'object' && value !== null && MEMORY in value;

/** Whether a value is a view of this very struct: one of another may have fields of the same names at other places. */
export const isViewOf = (type: Type, value: unknown): value is object => isView(value) && structOf(value) === type;

/** The memory behind a view. */
export function memoryOf(view: object): Memory {
  return (view as { [MEMORY]: Memory })[MEMORY];
}

const STRUCT = Symbol('struct');

/** The struct that a view shows. */
export function structOf(view: object): Struct {
  return (view as { [STRUCT]: Struct })[STRUCT];
}

const viewClasses = new WeakMap<Struct, new (memory: Memory) => object>();

/** One class a struct, with a getter a field, so that a view costs one small object. */
function viewClass(type: Struct): new (memory: Memory) => object {
  let known = viewClasses.get(type);
  if (known) return known;
  known = class {
    readonly [MEMORY]: Memory;
    constructor(memory: Memory) {
      this[MEMORY] = memory;
    }
    get [STRUCT](): Struct {
      return type;
    }
    set(values: Record<string, unknown>): void {
      this[MEMORY].emitter.onLine(() => writeType(this[MEMORY], type, values));
    }
    read(): unknown {
      return snapshot(this[MEMORY], type);
    }
    ref(field: string): Ref {
      return new Ref(fieldOf(this[MEMORY], type, field), type.fields[field] as Scalar);
    }
  };
  for (const [field, fieldType] of Object.entries(type.fields)) {
    Object.defineProperty(known.prototype, field, {
      get(this: { [MEMORY]: Memory }) {
        return readType(fieldOf(this[MEMORY], type, field), fieldType);
      },
    });
  }
  viewClasses.set(type, known);
  return known;
}

export function viewOf<F extends Readonly<Record<string, Type>>>(memory: Memory, type: Struct<F>): View<F> {
  const Class = viewClass(type);
  return new Class(memory) as unknown as View<F>;
}
