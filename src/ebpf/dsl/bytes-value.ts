import type { ByteSize } from '../asm/opcode.ts';
import { DslError } from '../errors.ts';
import { CallSite } from '../source-location.ts';
import { both, Condition } from './condition.ts';
import type { Emitter, Test } from './emitter.ts';
import { Int, type Width } from './int.ts';
import { load, type Memory, store, within } from './memory.ts';

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

/** Writes bytes, in as few stores as their alignment allows. */
export function storeBytes(memory: Memory, size: number, value: BytesValue | Uint8Array): void {
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
