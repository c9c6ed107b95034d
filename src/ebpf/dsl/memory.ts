import type { ByteSize } from '../asm/opcode.ts';
import type { Scalar, ScalarName } from '../btf/type.ts';
import { DslError } from '../errors.ts';
import type { Address, Operand } from '../ir/ir.ts';
import { CallSite } from '../source-location.ts';
import type { Emitter } from './emitter.ts';
import type { MapSpec } from './map.ts';
import { Int, Network, type NetworkWidth, operandFor, type Width } from './int.ts';

export type WidthOf<Name extends ScalarName> = Name extends 'u8'
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

/** An observer of accesses to memory: `offset` counts from its base. */
export interface MemoryWatch {
  written(offset: number, size: number): void;
  /** Memory was read, or handed to a helper or function that may read it; without arguments, all of it. */
  read(offset?: number, size?: number): void;
}

/** The memory of a view, and the check before each use. */
export interface Memory {
  readonly emitter: Emitter;
  readonly address: Address;
  /** Where the base register points into the frame: the bytes that it is aligned to. */
  readonly frameAlignment?: number;
  /** Observes accesses at known offsets, where the toolkit has to know which bytes were written. */
  readonly watch?: MemoryWatch;
  /** The map whose value it is, or a part of it. */
  readonly map?: MapSpec;
  /** What the memory is called in dumps. */
  readonly name: string;
  /** @throws DslError when the view is no longer valid. */
  check(): void;
}

/** Memory that a register points to, usable while the current scope is open. */
export function memoryAt(emitter: Emitter, base: number, name: string, map?: MapSpec): Memory {
  const { scope } = emitter;
  const check = (): void => {
    emitter.checkUsable(scope);
  };
  return { emitter, address: { base, offset: 0 }, name, check, ...(map ? { map } : {}) };
}

/** A part of the same memory. */
export const within = (memory: Memory, offset: number, name: string): Memory => ({
  ...memory,
  name,
  address: { ...memory.address, offset: memory.address.offset + offset },
});

/** The most that frame slots are aligned to. */
const SLOT_ALIGNMENT = 8;

/** The bytes that the memory's base is aligned to, where it lies in the frame. */
export function frameAlignment({ address, frameAlignment: known }: Memory): number | undefined {
  return typeof address.base === 'number' ? known : SLOT_ALIGNMENT;
}

/**
 * The accesses of 8, 4, 2 and 1 bytes in which `size` bytes are moved. In the frame the verifier demands that each is aligned
 * (check_ptr_alignment, kernel/bpf/verifier.c); elsewhere the few that the size allows.
 */
export function accesses(memory: Memory, size: number): { offset: number; size: ByteSize }[] {
  const aligned = frameAlignment(memory);
  const start = aligned === undefined ? 0 : memory.address.offset;
  const list: { offset: number; size: ByteSize }[] = [];
  for (let offset = 0; offset < size;) {
    const fits = (width: ByteSize): boolean =>
      width <= size - offset && width <= (aligned ?? width) && (start + offset) % width === 0;
    const access = ([8, 4, 2] as const).find(fits) ?? 1;
    list.push({ offset, size: access });
    offset += access;
  }
  return list;
}

/** Reads a number of this many bytes. */
export function load(memory: Memory, size: ByteSize): number {
  memory.check();
  memory.watch?.read(memory.address.offset, size);
  const dst = memory.emitter.vreg();
  memory.emitter.emit({ op: 'load', size, dst, from: memory.address, note: memory.name });
  return dst;
}

/** Writes a number of this many bytes. */
export function store(memory: Memory, size: ByteSize, src: Operand): void {
  memory.check();
  memory.watch?.written(memory.address.offset, size);
  memory.emitter.emit({ op: 'store', size, to: memory.address, src, note: memory.name });
}

/** The value of a scalar that has been loaded. */
export function scalarValue(emitter: Emitter, { name, size }: Scalar, operand: Operand): Int | Network {
  const width = (size * 8) as Width;
  return name.startsWith('be')
    ? new Network(emitter, width as NetworkWidth, operand)
    : new Int(emitter, width, operand);
}

/** What to store for a value, or a literal in host order. */
export function scalarOperand(
  { name, size }: Scalar,
  emitter: Emitter,
  value: Int | Network | number | bigint,
): Operand {
  const width = (size * 8) as Width;
  const isNetwork = name.startsWith('be');
  if (typeof value === 'object') {
    if (isNetwork === value instanceof Network) return operandFor(emitter, width, value);
    const [given, advice] = isNetwork ? ['host', 'toNetwork()'] : ['network', 'host()'];
    throw new DslError(
      `write ${name}: the value is in ${given} order; convert it with ${advice}`,
      new CallSite().location,
    );
  }
  const number = new Int(emitter, width, operandFor(emitter, width, value));
  return isNetwork ? (number as Int<32>).toNetwork().operand() : number.operand();
}

/** The address of memory, in a register. */
export function addressRegister(memory: Memory): Operand {
  memory.check();
  memory.watch?.read();
  const { emitter, address } = memory;
  if (typeof address.base !== 'number') return emitter.frameAddress(address.base.slot, address.offset);
  if (address.offset === 0) return address.base;
  const dst = emitter.vreg();
  emitter.emit({ op: 'alu', alu: 'add', width: 64, dst, a: address.base, b: BigInt(address.offset) });
  return dst;
}
