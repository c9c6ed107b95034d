/**
 * Machine code before register allocation: instructions over virtual registers (16 and up) and, around calls and exits,
 * the physical ones that the calling convention demands (arguments r1-r5, result r0, r0-r5 lost by a call).
 */
import { FRAME_POINTER, type Instruction, isCall } from '../asm/instruction.ts';
import { Alu, Atomic, Class, Jump, LD_IMM64, Mode, Source } from '../asm/opcode.ts';

export type MachineEnd =
  | { readonly kind: 'jump'; readonly to: number; readonly site: Instruction['site'] }
  /** `test` compares; its target is `then`. */
  | { readonly kind: 'branch'; readonly test: Instruction; readonly then: number; readonly otherwise: number }
  /** The result is in r0. */
  | { readonly kind: 'exit'; readonly insn: Instruction };

export interface MachineBlock {
  readonly id: number;
  readonly depth: number;
  insns: Instruction[];
  end: MachineEnd;
}

export interface MachineFunction {
  readonly name: string;
  blocks: MachineBlock[];
  readonly frame: number[];
  nextVReg: number;
}

const CALL_CLOBBERS = [0, 1, 2, 3, 4, 5];

/** The instruction of a block's end that reads registers, if any. */
function endInstruction(end: MachineEnd): Instruction | undefined {
  if (end.kind === 'branch') return end.test;
  return end.kind === 'exit' ? end.insn : undefined;
}

/** All instructions of a block that read or write registers, in order. */
export function blockInstructions(block: MachineBlock): Instruction[] {
  const end = endInstruction(block.end);
  return end ? [...block.insns, end] : block.insns;
}

export function endSuccessors(end: MachineEnd): number[] {
  if (end.kind === 'branch') return [end.then, end.otherwise];
  return end.kind === 'jump' ? [end.to] : [];
}

/** A copy from register to register, which allocation may make disappear. */
export function isMove(insn: Instruction): boolean {
  return insn.opcode === (Class.ALU64 | Alu.mov | Source.REG) && insn.src !== FRAME_POINTER;
}

export interface Effects {
  readonly uses: readonly number[];
  readonly defs: readonly number[];
}

const NONE: readonly number[] = [];
const RESULT: readonly number[] = [0];
const ARGUMENTS = Array.from({ length: 6 }, (_, count) => CALL_CLOBBERS.slice(1, 1 + count));

/** Lists of one register, made once each. */
const SINGLES: (readonly number[])[] = [];

const alone = (register: number): readonly number[] => (SINGLES[register] ??= [register]);
const one = (register: number): readonly number[] => (register === FRAME_POINTER ? NONE : alone(register));
const two = (a: number, b: number): readonly number[] => {
  if (a === FRAME_POINTER) return one(b);
  return b === FRAME_POINTER ? alone(a) : [a, b];
};

/** The registers that an instruction reads and writes, the hidden ones included; r10 is left out. */
export function effects(insn: Instruction): Effects {
  const { opcode, dst, src } = insn;
  const hasSource = (opcode & Source.REG) !== 0;
  switch (opcode & 0x07) {
    case Class.LD:
      return { uses: NONE, defs: opcode === LD_IMM64 ? alone(dst) : NONE };
    case Class.LDX:
      return { uses: insn.slot === undefined ? one(src) : NONE, defs: alone(dst) };
    case Class.ST:
      return { uses: insn.slot === undefined ? one(dst) : NONE, defs: NONE };
    case Class.STX: {
      const uses = insn.slot === undefined ? two(dst, src) : one(src);
      if ((opcode & 0xe0) !== Mode.ATOMIC) return { uses, defs: NONE };
      if (insn.imm === Atomic.cmpxchg) return { uses: [...uses, 0], defs: RESULT };
      return { uses, defs: (insn.imm & Atomic.FETCH) === 0 ? NONE : alone(src) };
    }
    case Class.ALU:
    case Class.ALU64: {
      const operation = opcode & 0xf0;
      if (operation === Alu.mov) return { uses: hasSource ? one(src) : NONE, defs: alone(dst) };
      if (operation === Alu.neg || operation === Alu.end) return { uses: alone(dst), defs: alone(dst) };
      return { uses: hasSource ? two(dst, src) : alone(dst), defs: alone(dst) };
    }
    default:
      if (isCall(insn)) return { uses: ARGUMENTS[insn.parameters ?? 0]!, defs: CALL_CLOBBERS };
      if ((opcode & 0xf0) === Jump.exit) return { uses: RESULT, defs: NONE };
      if ((opcode & 0xf0) === Jump.ja) return { uses: NONE, defs: NONE };
      return { uses: hasSource ? two(dst, src) : one(dst), defs: NONE };
  }
}

/** The same instruction with its named registers replaced; the hidden ones (r0 of an exit, say) stay. */
export function renameRegisters(insn: Instruction, rename: (register: number) => number): Instruction {
  const dst = rename(insn.dst);
  const src = rename(insn.src);
  return dst === insn.dst && src === insn.src ? insn : { ...insn, dst, src };
}
