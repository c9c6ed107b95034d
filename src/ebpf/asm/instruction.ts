import type { CallSite } from '../source-location.ts';
import { Class, Jump, LD_IMM64 } from './opcode.ts';

/**
 * One eBPF instruction as a value. Before register allocation `dst` and `src` may be virtual registers (16 and up); afterwards they are r0-r10. Parts
 * that are known later stand beside the number that they will become: a jump's target block, a frame slot, a map, a function.
 */
export interface Instruction {
  readonly opcode: number;
  readonly dst: number;
  readonly src: number;
  readonly offset: number;
  readonly imm: number;
  /** The constant of a wide load (LD_IMM64). */
  readonly wide?: bigint;
  /** The map whose descriptor, or whose value at `imm`, a wide load gives. */
  readonly map?: string;
  /** The function that a BPF-to-BPF call goes to, or whose address a wide load gives. */
  readonly callee?: string;
  /** The function of the kernel that a call goes to. */
  readonly kernelFunction?: string;
  /** The number of parameters that a call reads from r1 on. */
  readonly parameters?: number;
  /** The frame slot that `offset` (loads, stores) or `imm` (address arithmetic) counts from. */
  readonly slot?: number;
  /** The block that a jump goes to; `offset` once the program is laid out. */
  readonly target?: number;
  /** Which of its function's replaceable constants `imm` is, or `wide`, or the `offset` of a load. */
  readonly constant?: number;
  readonly site?: CallSite | undefined;
  readonly note?: string | undefined;
}

/** The frame pointer, r10. */
export const FRAME_POINTER = 10;

export function instruction(opcode: number, fields: Partial<Omit<Instruction, 'opcode'>> = {}): Instruction {
  return { opcode, dst: 0, src: 0, offset: 0, imm: 0, ...fields };
}

/** How many 8-byte slots the instruction takes: a wide load takes two. */
export function slots(insn: Instruction): number {
  return insn.opcode === LD_IMM64 ? 2 : 1;
}

export function isCall(insn: Instruction): boolean {
  return insn.opcode === (Class.JMP | Jump.call);
}
