import { type Instruction, instruction, slots } from '../asm/instruction.ts';
import { Class, Jump, Source } from '../asm/opcode.ts';
import { type Frame, placeSlots } from './frame.ts';
import type { MachineEnd, MachineFunction } from './machine.ts';

const INVERSE = new Map<number, number>(
  (
    [
      ['eq', 'ne'],
      ['gt', 'le'],
      ['ge', 'lt'],
      ['sgt', 'sle'],
      ['sge', 'slt'],
    ] as const
  ).flatMap(
    ([a, b]) =>
      [
        [Jump[a], Jump[b]],
        [Jump[b], Jump[a]],
      ] as const,
  ),
);

function inverted(test: Instruction): Instruction | undefined {
  const inverse = INVERSE.get(test.opcode & 0xf0);
  return inverse === undefined ? undefined : { ...test, opcode: (test.opcode & ~0xf0) | inverse };
}

/** The jumps that end a block, given the block that follows in the text. */
function endInstructions(end: MachineEnd, next: number | undefined): Instruction[] {
  const goto = (to: number): Instruction => instruction(Class.JMP | Jump.ja, { target: to });
  switch (end.kind) {
    case 'exit':
      return [end.insn];
    case 'jump':
      return end.to === next ? [] : [{ ...goto(end.to), site: end.site }];
    case 'branch': {
      const otherWay = end.then === next ? inverted(end.test) : undefined;
      if (otherWay) return [{ ...otherWay, target: end.otherwise }];
      const test = { ...end.test, target: end.then };
      return end.otherwise === next ? [test] : [test, { ...goto(end.otherwise), site: end.test.site }];
    }
  }
}

/** One function as a straight list of instructions, and the memory that it needs; jumps carry their distance. @throws DslError for too much memory. */
export function layOut(fn: MachineFunction): { readonly insns: readonly Instruction[]; readonly frame: Frame } {
  const { offsets, frame } = placeSlots(fn);
  const startOf = new Map<number, number>();
  const insns: Instruction[] = [];
  let at = 0;
  fn.blocks.forEach((block, index) => {
    startOf.set(block.id, at);
    for (const insn of [...block.insns, ...endInstructions(block.end, fn.blocks[index + 1]?.id)]) {
      insns.push(insn);
      at += slots(insn);
    }
  });
  let slot = 0;
  const laidOut = insns.map((insn) => {
    const here = slot;
    slot += slots(insn);
    if (insn.target !== undefined) return placed(insn, { offset: startOf.get(insn.target)! - here - 1 });
    if (insn.slot === undefined) return insn;
    const base = offsets[insn.slot]!;
    const isAddress = (insn.opcode & 0x07) === Class.ALU64 && (insn.opcode & Source.REG) === 0;
    return placed(insn, isAddress ? { imm: insn.imm + base } : { offset: insn.offset + base });
  });
  return { insns: laidOut, frame };
}

function placed({ target: _target, slot: _slot, ...insn }: Instruction, where: Partial<Instruction>): Instruction {
  return { ...insn, ...where };
}
