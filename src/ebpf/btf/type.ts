/**
 * Types of memory: one definition gives the kernel-side view, encode and decode in user space, sizes of map
 * keys and values, and the BTF type. Layout is C's without padding: a field that is not naturally aligned is refused.
 */
import { DslError } from '../errors.ts';
import { checkIdentifier } from '../identifier.ts';
import { CallSite } from '../source-location.ts';

const SCALARS = {
  u8: 1,
  u16: 2,
  u32: 4,
  u64: 8,
  be16: 2,
  be32: 4,
  be64: 8,
} as const;

export type ScalarName = keyof typeof SCALARS;

/** A number of 1 to 8 bytes; `be` ones are in network order in memory and in host order in user space. */
export interface Scalar<Name extends ScalarName = ScalarName> {
  readonly kind: 'scalar';
  readonly name: Name;
  readonly size: (typeof SCALARS)[Name];
}

/** Bytes without an inner order: addresses, keys. */
export interface Bytes {
  readonly kind: 'bytes';
  readonly size: number;
}

export interface ArrayOf<Element extends Type = Type> {
  readonly kind: 'array';
  readonly element: Element;
  readonly length: number;
  readonly size: number;
}

/** Fields that belong to the kernel, by their struct: size and alignment in bytes. */
const OPAQUE = { bpf_spin_lock: { size: 4, alignment: 4 }, bpf_timer: { size: 16, alignment: 8 } } as const;

export type OpaqueName = keyof typeof OPAQUE;

/** A field of a map's value that the kernel alone reads and writes. It has no value for programs or user space. */
export interface Opaque<Name extends OpaqueName = OpaqueName> {
  readonly kind: 'opaque';
  readonly name: Name;
  readonly size: number;
}

export type Fields = Readonly<Record<string, Type>>;

export interface Struct<F extends Fields = Fields> {
  readonly kind: 'struct';
  readonly name: string;
  readonly fields: F;
  /** Byte offset of each field. */
  readonly offsets: { readonly [K in keyof F]: number };
  readonly size: number;
}

export type Type =
  | Scalar
  | Bytes
  | Opaque
  | { readonly kind: 'array'; readonly element: Type; readonly length: number; readonly size: number }
  | {
      readonly kind: 'struct';
      readonly name: string;
      readonly fields: Readonly<Record<string, Type>>;
      readonly offsets: Readonly<Record<string, number>>;
      readonly size: number;
    };

/** The user-space value of a type: numbers up to 32 bits, bigint for 64, Uint8Array for bytes, arrays, plain objects. */
export type Infer<T extends Type> =
  T extends Scalar<infer Name>
    ? Name extends 'u64' | 'be64'
      ? bigint
      : number
    : T extends Bytes
      ? Uint8Array
      : T extends ArrayOf<infer Element>
        ? readonly Infer<Element>[]
        : T extends Struct<infer F>
          ? { readonly [K in keyof F as F[K] extends Opaque ? never : K]: Infer<F[K]> }
          : never;

function scalar<Name extends ScalarName>(name: Name): Scalar<Name> {
  return Object.freeze({ kind: 'scalar', name, size: SCALARS[name] });
}

export const u8 = scalar('u8');
export const u16 = scalar('u16');
export const u32 = scalar('u32');
export const u64 = scalar('u64');
export const be16 = scalar('be16');
export const be32 = scalar('be32');
export const be64 = scalar('be64');

/** A lock in the value of an array or a hash, which `$.lock` takes (`struct bpf_spin_lock`). One a value. Linux 5.1. */
export const spinLock = opaque('bpf_spin_lock');
/** A timer in the value of an array, a hash or an LRU hash, which `$.startTimer` starts (`struct bpf_timer`). One a value. Linux 5.15. */
export const timer = opaque('bpf_timer');

function opaque<Name extends OpaqueName>(name: Name): Opaque<Name> {
  return Object.freeze({ kind: 'opaque', name, size: OPAQUE[name].size });
}

export function bytes(size: number): Bytes {
  return Object.freeze({ kind: 'bytes', size });
}

/** @throws DslError when the second element would not be aligned. */
export function array<Element extends Type>(element: Element, length: number): ArrayOf<Element> {
  const align = alignment(element);
  if (element.size % align !== 0) {
    throw new DslError(
      `define array: its elements have ${String(element.size)} bytes and must begin at multiples of ${String(align)}; ` +
        `put a field of ${String(align - (element.size % align))} bytes at their end, for example pad: bytes(${String(align - (element.size % align))})`,
      new CallSite().location,
    );
  }
  return Object.freeze({ kind: 'array', element, length, size: element.size * length });
}

function alignment(type: Type): number {
  switch (type.kind) {
    case 'scalar':
      return type.size;
    case 'bytes':
      return 1;
    case 'opaque':
      return OPAQUE[type.name].alignment;
    case 'array':
      return alignment(type.element);
    case 'struct':
      return Math.max(1, ...Object.values(type.fields).map(alignment));
  }
}

/** Names that a view uses itself. */
const RESERVED = new Set(['set', 'ref', 'read']);

/**
 * A structure in memory.
 * @throws DslError when a field is not aligned to its size, or has a name that views use themselves (`set`, `ref`).
 */
export function struct<const F extends Fields>(name: string, fields: F): Struct<F> {
  checkIdentifier('struct', name);
  const offsets: Record<string, number> = {};
  let size = 0;
  for (const [field, type] of Object.entries(fields)) {
    const align = alignment(type);
    if (/^\d+$/.test(field)) {
      throw new DslError(
        `define struct ${name}: a field cannot be called ${field}: JavaScript would put it in front of those with letters`,
        new CallSite().location,
      );
    }
    if (RESERVED.has(field)) {
      throw new DslError(`define struct ${name}: a field cannot be called ${field}`, new CallSite().location);
    }
    if (size % align !== 0) {
      const gap = align - (size % align);
      throw new DslError(
        `define struct ${name}: field ${field} would lie at byte ${String(size)}, not aligned to ${String(align)}; ` +
          `put a field of ${String(gap)} bytes before it, for example pad: bytes(${String(gap)})`,
        new CallSite().location,
      );
    }
    offsets[field] = size;
    size += type.size;
  }
  return Object.freeze({ kind: 'struct', name, fields, offsets: offsets as { [K in keyof F]: number }, size });
}

/** A value that is none of its type. */
class Misfit extends Error {
  /** The fields and elements that lead to it, outermost first. */
  readonly path: string[] = [];
}

function writeScalar(name: ScalarName, value: unknown, out: Buffer, at: number): void {
  const bits = SCALARS[name] * 8;
  if (value === undefined) throw new Misfit('it is missing; give a whole number');
  if (typeof value !== 'number' && typeof value !== 'bigint')
    throw new Misfit(`a value of type ${typeof value} is given; give a whole number`);
  if (typeof value === 'number' && !Number.isInteger(value)) throw new Misfit(`${String(value)} is not a whole number`);
  const raw = BigInt(value);
  if (raw < 0n || BigInt.asUintN(bits, raw) !== raw) {
    throw new Misfit(`${String(value)} is not between 0 and 2^${String(bits)}-1`);
  }
  switch (name) {
    case 'u8':
      return void out.writeUInt8(Number(raw), at);
    case 'u16':
      return void out.writeUInt16LE(Number(raw), at);
    case 'u32':
      return void out.writeUInt32LE(Number(raw), at);
    case 'u64':
      return void out.writeBigUInt64LE(raw, at);
    case 'be16':
      return void out.writeUInt16BE(Number(raw), at);
    case 'be32':
      return void out.writeUInt32BE(Number(raw), at);
    case 'be64':
      return void out.writeBigUInt64BE(raw, at);
  }
}

function readScalar(name: ScalarName, from: Buffer, at: number): number | bigint {
  switch (name) {
    case 'u8':
      return from.readUInt8(at);
    case 'u16':
      return from.readUInt16LE(at);
    case 'u32':
      return from.readUInt32LE(at);
    case 'u64':
      return from.readBigUInt64LE(at);
    case 'be16':
      return from.readUInt16BE(at);
    case 'be32':
      return from.readUInt32BE(at);
    case 'be64':
      return from.readBigUInt64BE(at);
  }
}

/** The fields that have values, in order. */
export const dataFields = (type: Pick<Struct, 'fields'>): [string, Type][] =>
  Object.entries<Type>(type.fields).filter(([, field]) => field.kind !== 'opaque');

function write(type: Type, value: unknown, out: Buffer, at: number): void {
  switch (type.kind) {
    case 'scalar':
      return writeScalar(type.name, value, out, at);
    case 'bytes': {
      const raw = value as Uint8Array | undefined;
      if (raw?.length !== type.size)
        throw new Misfit(`${String(raw?.length ?? 0)} bytes given, ${String(type.size)} needed`);
      return out.set(raw, at);
    }
    case 'array': {
      const elements = value as readonly unknown[] | undefined;
      if (elements?.length !== type.length)
        throw new Misfit(`${String(elements?.length ?? 0)} elements given, ${String(type.length)} needed`);
      for (const [index, element] of elements.entries()) {
        try {
          write(type.element, element, out, at + index * type.element.size);
        } catch (error) {
          throw inside(String(index), error);
        }
      }
      return;
    }
    case 'struct':
      if (typeof value !== 'object' || value === null) throw new Misfit('give an object with all fields');
      for (const [field, fieldType] of dataFields(type)) {
        try {
          write(fieldType, (value as Record<string, unknown>)[field], out, at + type.offsets[field]!);
        } catch (error) {
          throw inside(field, error);
        }
      }
      return;
    case 'opaque':
  }
}

/** An error in a part of a value: a misfit takes the part's name along. */
function inside(part: string, error: unknown): unknown {
  if (error instanceof Misfit) error.path.unshift(part);
  return error;
}

function read(type: Type, from: Buffer, at: number): unknown {
  switch (type.kind) {
    case 'scalar':
      return readScalar(type.name, from, at);
    case 'bytes':
      return new Uint8Array(from.subarray(at, at + type.size));
    case 'array':
      return Array.from({ length: type.length }, (_, index) =>
        read(type.element, from, at + index * type.element.size),
      );
    case 'struct':
      return Object.fromEntries(
        dataFields(type).map(([field, fieldType]) => [field, read(fieldType, from, at + type.offsets[field]!)]),
      );
    case 'opaque':
      return undefined;
  }
}

/** The bytes of a value in memory. @throws RangeError that names the field whose value is missing or does not fit. */
export function encodeValue<T extends Type>(type: T, value: Infer<T>): Buffer {
  const out = Buffer.alloc(type.size);
  try {
    write(type, value, out, 0);
  } catch (error) {
    if (!(error instanceof Misfit)) throw error;
    const whole = 'name' in type ? type.name : type.kind;
    throw new RangeError(`encode ${[whole, ...error.path].join('.')}: ${error.message}`, { cause: error });
  }
  return out;
}

/** The value at `at` in memory. */
export function decodeValue<T extends Type>(type: T, from: Buffer, at = 0): Infer<T> {
  return read(type, from, at) as Infer<T>;
}
