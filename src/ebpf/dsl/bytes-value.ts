import type { ByteSize } from '../asm/opcode.ts';
import { DslError } from '../errors.ts';
import { CallSite } from '../source-location.ts';
import { both, Condition } from './condition.ts';
import type { Emitter, Test } from './emitter.ts';
import { Int, type Width } from './int.ts';
import { accesses, load, type Memory, store, within } from './memory.ts';

/** Some of the bytes, in a register: the first of them is the lowest. */
interface Part {
  readonly offset: number;
  readonly size: ByteSize;
  readonly value: Int;
}

/** Bytes that were read: they can be compared, and written elsewhere. */
export class BytesValue {
  readonly size: number;
  readonly #emitter: Emitter;
  readonly #parts: readonly Part[];

  constructor(memory: Memory, size: number) {
    this.size = size;
    this.#emitter = memory.emitter;
    this.#parts = accesses(memory, size).map((access) => {
      const operand = load(within(memory, access.offset, memory.name), access.size);
      return { ...access, value: new Int(memory.emitter, (access.size * 8) as Width, operand) };
    });
  }

  /** The bytes as 32-bit words as they lie in memory; the size must be a multiple of four. */
  words(): Int<32>[] {
    if (this.size % 4 !== 0) {
      throw new DslError(`read words: ${String(this.size)} bytes are not a multiple of four`, new CallSite().location);
    }
    return Array.from({ length: this.size / 4 }, (_, index) => this.#slice(index * 4, 4).u32());
  }

  eq(other: BytesValue | Uint8Array): Condition {
    checkLength('compare bytes', other, this.size);
    const tests = this.#parts.map(({ offset, size, value }): Test => {
      const b = other instanceof Uint8Array ? bytesConstant(other, offset, size) : other.#slice(offset, size).operand();
      return { kind: 'compare', compare: 'eq', width: size === 8 ? 64 : 32, a: value.operand(), b };
    });
    return new Condition(
      this.#emitter,
      tests.reduce((left, right) => both('and', left, right)),
    );
  }

  /** The value of the access that begins at `offset`. */
  part(offset: number): Int {
    const part = this.#parts.find((candidate) => candidate.offset === offset);
    if (!part)
      throw new DslError(
        `use bytes: they were not read in parts that begin at ${String(offset)}`,
        new CallSite().location,
      );
    return part.value;
  }

  /** Writes the bytes, in pieces no larger than those that were read, and as small as the place's alignment demands. */
  storeTo(memory: Memory): void {
    for (const { offset, size, value } of this.#parts) {
      const place = within(memory, offset, memory.name);
      for (const piece of accesses(place, size)) {
        // A store takes the low bytes and leaves the rest.
        const low = piece.offset === 0 ? value : value.shr(piece.offset * 8);
        store(within(place, piece.offset, memory.name), piece.size, low.operand());
      }
    }
  }

  /** The number that `size` bytes from `offset` on make, put together from the parts that they lie in. */
  #slice(offset: number, size: ByteSize): Int {
    const width = (size * 8) as Width;
    const whole = this.#parts.find((part) => part.offset === offset && part.size === size);
    if (whole) return whole.value;
    const pieces = this.#parts
      .filter((part) => part.offset < offset + size && part.offset + part.size > offset)
      .map((part) => {
        const before = offset - part.offset;
        return before >= 0 ? part.value.u64().shr(before * 8) : part.value.u64().shl(-before * 8);
      });
    const joined = pieces.reduce((left, right) => left.or(right));
    return { 8: () => joined.u8(), 16: () => joined.u16(), 32: () => joined.u32(), 64: () => joined }[width]();
  }
}

function checkLength(what: string, value: BytesValue | Uint8Array, size: number): void {
  const length = value instanceof Uint8Array ? value.length : value.size;
  if (length === size) return;
  throw new DslError(`${what}: ${String(length)} bytes given, ${String(size)} needed`, new CallSite().location);
}

function bytesConstant(from: Uint8Array, offset: number, size: number): bigint {
  let value = 0n;
  for (let at = offset + size - 1; at >= offset; at--) value = (value << 8n) | BigInt(from[at] ?? 0);
  return value;
}

/** Writes bytes, in as few stores as their alignment allows. */
export function storeBytes(memory: Memory, size: number, value: BytesValue | Uint8Array): void {
  checkLength(`set ${memory.name}`, value, size);
  if (value instanceof BytesValue) return value.storeTo(memory);
  for (const part of accesses(memory, size)) {
    store(within(memory, part.offset, memory.name), part.size, bytesConstant(value, part.offset, part.size));
  }
}
