import { helpers } from '../uapi/helpers.gen.ts';
import { slotOffsets } from './encode.ts';
import type { Instruction } from './instruction.ts';
import { Alu, Atomic, Class, Jump, LD_IMM64, Mode, Pseudo, sizeBytes, Source } from './opcode.ts';

const names = (table: Record<string, number>): Map<number, string> =>
  new Map(Object.entries(table).map(([name, code]) => [code, name]));

const aluNames = names(Alu);
const jumpNames = names(Jump);
const atomicNames = names(Atomic);
const helperNames = new Map<number, string>(Object.entries(helpers).map(([name, { id }]) => [id, name]));

const ALU_SIGNS: Record<string, string> = {
  add: '+=',
  sub: '-=',
  mul: '*=',
  div: '/=',
  or: '|=',
  and: '&=',
  lsh: '<<=',
  rsh: '>>=',
  mod: '%=',
  xor: '^=',
  arsh: 's>>=',
  mov: '=',
};
const JUMP_SIGNS: Record<string, string> = {
  eq: '==',
  ne: '!=',
  gt: '>',
  ge: '>=',
  lt: '<',
  le: '<=',
  set: '&',
  sgt: 's>',
  sge: 's>=',
  slt: 's<',
  sle: 's<=',
};

function register(number: number, wide = true): string {
  if (number >= 16) return `v${String(number - 16)}${wide ? '' : '.w'}`;
  return `${wide ? 'r' : 'w'}${String(number)}`;
}

const signed = (value: number): string => (value < 0 ? String(value) : `+${String(value)}`);

function place(insn: Instruction, base: number): string {
  const where = insn.slot === undefined ? register(base) : `slot${String(insn.slot)}`;
  return `*(u${String(sizeBytes(insn.opcode) * 8)} *)(${where} ${signed(insn.offset)})`;
}

function alu(insn: Instruction, wide: boolean): string {
  const name = aluNames.get(insn.opcode & 0xf0) ?? '?';
  const dst = register(insn.dst, wide);
  if (name === 'neg') return `${dst} = -${dst}`;
  if (name === 'end') return `${register(insn.dst)} = be${String(insn.imm)} ${register(insn.dst)}`;
  const immediate = insn.slot === undefined ? String(insn.imm) : `slot${String(insn.slot)}${signed(insn.imm)}`;
  const operand = (insn.opcode & Source.REG) === 0 ? immediate : register(insn.src, wide);
  return `${dst} ${ALU_SIGNS[name] ?? '?'} ${operand}`;
}

function jump(insn: Instruction, wide: boolean): string {
  const name = jumpNames.get(insn.opcode & 0xf0) ?? '?';
  const where = insn.target === undefined ? signed(insn.offset) : `b${String(insn.target)}`;
  if (name === 'exit') return 'exit';
  if (name === 'ja') return `goto ${where}`;
  if (name === 'call') {
    if (insn.kernelFunction !== undefined) return `call kernel ${insn.kernelFunction}`;
    return insn.callee === undefined ? `call ${helperNames.get(insn.imm) ?? String(insn.imm)}` : `call ${insn.callee}`;
  }
  const operand = (insn.opcode & Source.REG) === 0 ? String(insn.imm) : register(insn.src, wide);
  return `if ${register(insn.dst, wide)} ${JUMP_SIGNS[name] ?? '?'} ${operand} goto ${where}`;
}

function atomic(insn: Instruction): string {
  const name = atomicNames.get(insn.imm) ?? `${atomicNames.get(insn.imm & ~Atomic.FETCH) ?? '?'}_fetch`;
  return `lock ${name} ${place(insn, insn.dst)} ${register(insn.src)}`;
}

/** One instruction as text, in the notation of the kernel's own disassembler. */
export function disassemble(insn: Instruction): string {
  if (insn.opcode === LD_IMM64) {
    if (insn.callee !== undefined) return `${register(insn.dst)} = function ${insn.callee}`;
    if (insn.map === undefined)
      return `${register(insn.dst)} = 0x${BigInt.asUintN(64, insn.wide ?? 0n).toString(16)} ll`;
    return `${register(insn.dst)} = map[${insn.map}]${insn.src === Pseudo.MAP_VALUE ? ` value ${signed(insn.imm)}` : ''}`;
  }
  switch (insn.opcode & 0x07) {
    case Class.LDX:
      return `${register(insn.dst)} = ${place(insn, insn.src)}`;
    case Class.ST:
      return `${place(insn, insn.dst)} = ${String(insn.imm)}`;
    case Class.STX:
      return (insn.opcode & 0xe0) === Mode.ATOMIC ? atomic(insn) : `${place(insn, insn.dst)} = ${register(insn.src)}`;
    case Class.ALU:
      return alu(insn, false);
    case Class.ALU64:
      return alu(insn, true);
    case Class.JMP:
      return jump(insn, true);
    case Class.JMP32:
      return jump(insn, false);
    default:
      return `? ${insn.opcode.toString(16)}`;
  }
}

/** A program as text, a line an instruction with its slot number and, where there is one, its comment. */
export function disassembleAll(insns: readonly Instruction[]): string {
  const offsets = slotOffsets(insns);
  return insns
    .map((insn, index) => {
      const text = `${String(offsets[index]).padStart(4)}: ${disassemble(insn)}`;
      return insn.note === undefined ? text : `${text.padEnd(48)} ; ${insn.note}`;
    })
    .join('\n');
}
