/**
 * The naive back end: every virtual register lives in a frame slot, is loaded before each instruction that reads it and
 * stored after each that writes it. Slow, and simple enough to be the oracle that the allocator is tested against.
 *
 * A register that is seen in one block alone gives its slot back after its last access there; all others keep theirs.
 */
import { FRAME_POINTER, type Instruction, instruction } from '../asm/instruction.ts';
import { Class, Mode, Size } from '../asm/opcode.ts';
import { FIRST_VREG } from './ir.ts';
import { blockInstructions, effects, isMove, type MachineFunction, renameRegisters } from './machine.ts';

/** Registers that instruction selection never names: they carry values between a slot and one instruction. */
const SCRATCH = [6, 7, 8] as const;

const virtualRegisters = (insn: Instruction): number[] => {
  const { uses, defs } = effects(insn);
  return [...new Set([...uses, ...defs])].filter((register) => register >= FIRST_VREG);
};

/** The one block each register is seen in, or undefined for those that cross blocks. */
function homes(fn: MachineFunction): Map<number, number | undefined> {
  const home = new Map<number, number | undefined>();
  for (const block of fn.blocks) {
    for (const insn of blockInstructions(block)) {
      for (const register of virtualRegisters(insn)) {
        if (!home.has(register)) home.set(register, block.id);
        else if (home.get(register) !== block.id) home.set(register, undefined);
      }
    }
  }
  return home;
}

export function allocateNaively(fn: MachineFunction): void {
  const home = homes(fn);
  const slotOf = new Map<number, number>();
  const free: number[] = [];
  const slot = (register: number): number => {
    let number = slotOf.get(register);
    if (number === undefined) {
      number = free.pop() ?? fn.frame.push(8) - 1;
      slotOf.set(register, number);
    }
    return number;
  };
  for (const [register, block] of home) if (block === undefined) slot(register);

  for (const block of fn.blocks) {
    const lastAccess = new Map<number, number>();
    const originals = blockInstructions(block);
    originals.forEach((insn, index) => {
      for (const register of virtualRegisters(insn))
        if (home.get(register) === block.id) lastAccess.set(register, index);
    });
    const insns: Instruction[] = [];
    const rewrite = (insn: Instruction, after: Instruction[]): Instruction => {
      const { uses, defs } = effects(insn);
      const scratch = new Map<number, number>();
      for (const register of virtualRegisters(insn)) {
        // A copy to or from a physical register must not disturb the others, which may hold arguments already.
        const stand = isMove(insn) && insn.dst < FIRST_VREG ? insn.dst : SCRATCH[scratch.size]!;
        scratch.set(register, stand);
        const memory = { slot: slot(register), site: insn.site };
        if (uses.includes(register)) {
          insns.push(instruction(Class.LDX | Mode.MEM | Size.DW, { dst: stand, src: FRAME_POINTER, ...memory }));
        }
        if (defs.includes(register)) {
          after.push(instruction(Class.STX | Mode.MEM | Size.DW, { dst: FRAME_POINTER, src: stand, ...memory }));
        }
      }
      return renameRegisters(insn, (register) => scratch.get(register) ?? register);
    };
    originals.forEach((insn, index) => {
      const after: Instruction[] = [];
      const rewritten = rewrite(insn, after);
      if (index < block.insns.length) insns.push(rewritten, ...after);
      else if (block.end.kind === 'branch') block.end = { ...block.end, test: rewritten };
      for (const register of virtualRegisters(insn)) {
        if (lastAccess.get(register) === index) free.push(slot(register));
      }
    });
    block.insns = insns;
  }
}
