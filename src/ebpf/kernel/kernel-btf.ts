/** The kernel's own type information, as far as finding functions and fields goes (Documentation/bpf/btf.rst). */
import { readFileSync } from 'node:fs';
import { UnsupportedError } from '../errors.ts';
import type { Feature } from './probes.ts';

const KERNEL_BTF = '/sys/kernel/btf/vmlinux';
const HEADER = { length: 4, typeOffset: 8, typeLength: 12, stringOffset: 16 } as const;
const TYPE_SIZE = 12;
const MEMBER_SIZE = 12;
const Kind = {
  INT: 1,
  ARRAY: 3,
  STRUCT: 4,
  UNION: 5,
  ENUM: 6,
  FUNC: 12,
  FUNC_PROTO: 13,
  VAR: 14,
  DATASEC: 15,
  DECL_TAG: 17,
  ENUM64: 19,
} as const;

/** Bytes behind the common part of a type, by kind and number of members. */
function extraBytes(kind: number, members: number): number {
  switch (kind) {
    case Kind.INT:
    case Kind.VAR:
    case Kind.DECL_TAG:
      return 4;
    case Kind.ARRAY:
      return 12;
    case Kind.STRUCT:
    case Kind.UNION:
    case Kind.DATASEC:
    case Kind.ENUM64:
      return 12 * members;
    case Kind.ENUM:
    case Kind.FUNC_PROTO:
      return 8 * members;
    default:
      return 0;
  }
}

/** The kernel's BTF, read once; empty where it has none. */
let kernelBtf: Buffer | undefined;

function readKernelBtf(): Buffer {
  try {
    kernelBtf ??= readFileSync(KERNEL_BTF);
  } catch {
    kernelBtf = Buffer.alloc(0);
  }
  return kernelBtf;
}

const known = new Map<string, number | undefined>();

/** Finds a string of the kernel's BTF; undefined where it is not there. */
function stringOffset(btf: Buffer, text: string): number | undefined {
  const strings = btf.readUInt32LE(HEADER.length) + btf.readUInt32LE(HEADER.stringOffset);
  const place = btf.indexOf(`\0${text}\0`, strings, 'latin1');
  return place < 0 ? undefined : place + 1 - strings;
}

interface Found {
  readonly id: number;
  /** Where it begins in the kernel's BTF. */
  readonly at: number;
}

/** All types, in order. */
function* types(): Generator<Found & { readonly kind: number }, void, void> {
  const btf = readKernelBtf();
  if (btf.length === 0) return;
  const start = btf.readUInt32LE(HEADER.length) + btf.readUInt32LE(HEADER.typeOffset);
  const end = start + btf.readUInt32LE(HEADER.typeLength);
  for (let at = start, id = 1; at < end; id++) {
    const info = btf.readUInt32LE(at + 4);
    const kind = (info >>> 24) & 0x1f;
    yield { id, at, kind };
    at += TYPE_SIZE + extraBytes(kind, info & 0xffff);
  }
}

/** The types of a kind and name, in order. The name is looked for first, as bytes: a kernel has a hundred thousand types. */
function* findTypes(wanted: number, name: string): Generator<Found, void, void> {
  const btf = readKernelBtf();
  const nameOffset = btf.length === 0 ? undefined : stringOffset(btf, name);
  if (nameOffset === undefined) return;
  for (const { id, at, kind } of types()) if (kind === wanted && btf.readUInt32LE(at) === nameOffset) yield { id, at };
}

function findFunction(name: string): number | undefined {
  for (const { id } of findTypes(Kind.FUNC, name)) return id;
  return undefined;
}

function findField(struct: string, member: string): number | undefined {
  const name = stringOffset(readKernelBtf(), member);
  if (name === undefined) return undefined;
  for (const { at } of findTypes(Kind.STRUCT, struct)) return fieldIn(at, name);
  return undefined;
}

/** Where a member lies in the struct or union at `at`: bytes. Those of a struct or union without a name count as its own. */
function fieldIn(at: number, name: number): number | undefined {
  const btf = readKernelBtf();
  const info = btf.readUInt32LE(at + 4);
  for (let index = 0, entry = at + TYPE_SIZE; index < (info & 0xffff); index++, entry += MEMBER_SIZE) {
    const memberName = btf.readUInt32LE(entry);
    if (memberName !== name && memberName !== 0) continue;
    // With bit fields the upper byte is their size.
    const bits = btf.readUInt32LE(entry + 8);
    const offset = (info >>> 31 ? bits & 0xff_ffff : bits) / 8;
    if (memberName === name) return offset;
    const inner = recordAt(btf.readUInt32LE(entry + 4));
    const below = inner === undefined ? undefined : fieldIn(inner, name);
    if (below !== undefined) return offset + below;
  }
  return undefined;
}

/** Where the struct or union with this number begins; undefined for any other type. */
function recordAt(wanted: number): number | undefined {
  for (const { id, at, kind } of types())
    if (id === wanted) return kind === Kind.STRUCT || kind === Kind.UNION ? at : undefined;
  return undefined;
}

/** Numbers of kernel functions by name and offsets of fields by `struct.member`, null where there is none. They hold until the next boot. */
export type KernelFunctions = Readonly<Record<string, number | null>>;

/** The look-ups so far. */
export function knownKernelFunctions(): KernelFunctions {
  return Object.fromEntries([...known].map(([name, id]) => [name, id ?? null]));
}

/** Takes over the numbers found since this boot: reading the kernel's type information takes tens of milliseconds. */
export function learnKernelFunctions(functions: KernelFunctions): void {
  for (const [name, id] of Object.entries(functions)) known.set(name, id ?? undefined);
}

function lookUp(name: string, find: () => number | undefined): number | undefined {
  if (!known.has(name)) known.set(name, find());
  return known.get(name);
}

const functionId = (name: string): number | undefined => lookUp(name, () => findFunction(name));

/** Bytes from the start of a struct of the kernel's to one of its members; undefined where this kernel has none of that name. */
export function kernelFieldOffset(struct: string, member: string): number | undefined {
  return lookUp(`${struct}.${member}`, () => findField(struct, member));
}

/** The number of a kernel function. @throws UnsupportedError where this kernel has none of that name. */
export function kernelFunctionId(name: string, since = 'a later release'): number {
  const id = functionId(name);
  if (id === undefined) throw new UnsupportedError(`kernel function ${name}`, since);
  return id;
}

/** Whether the kernel has a function of this name in its BTF. */
export function probeKernelFunction(name: string, since: string): Feature {
  return { name: `kernel function ${name}`, available: functionId(name) !== undefined, since };
}
