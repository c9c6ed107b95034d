import { slotOffsets } from '../asm/encode.ts';
import type { CompiledCode } from '../ir/compile.ts';
import { sourceLine, type SourceLocation } from '../source-location.ts';
import { BtfBuilder } from './btf.ts';

/** What BPF_PROG_LOAD wants beside the instructions, so that the kernel can name functions and lines. */
export interface ProgramInfo {
  readonly btf: Buffer;
  /** `struct bpf_func_info`: slot, type number. */
  readonly functions: Buffer;
  /** `struct bpf_line_info`: slot, file name, line text, line and column. */
  readonly lines: Buffer;
}

export const FUNCTION_INFO_SIZE = 8;
export const LINE_INFO_SIZE = 16;
const MAX_COLUMN = 1023;

/** The author's line of each instruction slot where it changes, in order; every function begins with one. */
export function lineTable({ insns, functions }: CompiledCode): { slot: number; location: SourceLocation }[] {
  const starts = new Map(functions.map((fn) => [fn.slot, fn.site.location]));
  const offsets = slotOffsets(insns);
  const table: { slot: number; location: SourceLocation }[] = [];
  let last: SourceLocation | undefined;
  insns.forEach((insn, index) => {
    const slot = offsets[index]!;
    const location = insn.site?.location ?? (starts.has(slot) ? starts.get(slot) : last);
    if (!location) return;
    const same = last?.file === location.file && last.line === location.line;
    if (!same || starts.has(slot)) table.push({ slot, location });
    last = location;
  });
  return table;
}

export function programInfo(code: CompiledCode): ProgramInfo {
  const btf = new BtfBuilder();
  const functions = code.functions.map((fn) => {
    const type = btf.func(fn.name, fn.signature);
    const record = Buffer.alloc(FUNCTION_INFO_SIZE);
    record.writeUInt32LE(fn.slot, 0);
    record.writeUInt32LE(type, 4);
    return record;
  });
  const lines = lineTable(code).map(({ slot, location }) => {
    const record = Buffer.alloc(LINE_INFO_SIZE);
    record.writeUInt32LE(slot, 0);
    record.writeUInt32LE(btf.string(location.file), 4);
    record.writeUInt32LE(btf.string(sourceLine(location).trim()), 8);
    record.writeUInt32LE(((location.line << 10) | Math.min(location.column, MAX_COLUMN)) >>> 0, 12);
    return record;
  });
  return { btf: btf.encode(), functions: Buffer.concat(functions), lines: Buffer.concat(lines) };
}
