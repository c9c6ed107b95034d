/** Zeros in memory that had other contents before: nothing old may reach a map or user space. */
import type { Type } from '../btf/type.ts';
import type { Op } from '../ir/ir.ts';
import { CallSite } from '../source-location.ts';
import { accesses, type Memory, type MemoryWatch, within } from './memory.ts';
import { isViewOf } from './view.ts';

/** The stores that fill `size` bytes with zeros. */
function zeroStores(memory: Memory, size: number): Op[] {
  return accesses(memory, size).map(({ offset, size: width }) => ({
    op: 'store',
    size: width,
    to: within(memory, offset, memory.name).address,
    src: 0n,
    note: `${memory.name} = 0`,
  }));
}

/** Zeros for the bytes that `has` does not have, in as few stores as they allow. */
function zerosFor(memory: Memory, size: number, has: (offset: number) => boolean): Op[] {
  const stores: Op[] = [];
  for (let start = 0; start < size; start++) {
    if (has(start)) continue;
    let end = start;
    while (end < size && !has(end)) end++;
    stores.push(...zeroStores(within(memory, start, memory.name), end - start));
    start = end;
  }
  return stores;
}

/** Marks the bytes that a value for `type` brings along; arrays are not written as a whole. */
function markGiven(type: Type, value: unknown, at: number, given: Set<number>): void {
  if (value === undefined) return;
  if (type.kind === 'struct' && !isViewOf(type, value)) {
    for (const [field, fieldType] of Object.entries(type.fields)) {
      markGiven(fieldType, (value as Record<string, unknown>)[field], at + type.offsets[field]!, given);
    }
    return;
  }
  for (let offset = 0; offset < type.size; offset++) given.add(at + offset);
}

/** Fills the bytes with zeros that a value leaves out. */
export function zeroTheRest(memory: Memory, type: Type, value: unknown): void {
  const given = new Set<number>();
  markGiven(type, value, 0, given);
  for (const op of zerosFor(memory, type.size, (offset) => given.has(offset))) memory.emitter.emit(op);
}

/**
 * Runs `fill`, which writes to `size` bytes of unknown contents, and puts zeros before it for those bytes that it does not write
 * on every path before they are read.
 */
export function filled(memory: Memory, size: number, fill: (watched: Memory) => void): void {
  const { emitter } = memory;
  const { scope, current } = emitter;
  const start = current.ops.length;
  const site = new CallSite();
  const written = new Set<number>();
  const needed = new Set<number>();
  const watch: MemoryWatch = {
    written(offset, width) {
      if (emitter.scope !== scope) return;
      for (let at = offset; at < offset + width; at++) written.add(at);
    },
    read(offset = 0, width = size) {
      for (let at = offset; at < offset + width; at++) if (!written.has(at)) needed.add(at);
    },
  };
  fill({ ...memory, watch });
  const zeros = zerosFor(memory, size, (offset) => written.has(offset) && !needed.has(offset));
  current.ops.splice(start, 0, ...zeros.map((op) => ({ ...op, site })));
}
