import { type Instruction, instruction, slots } from '../asm/instruction.ts';
import { Class, Jump, Source } from '../asm/opcode.ts';
import { DslError } from '../errors.ts';
import type { MachineEnd, MachineFunction } from './machine.ts';

/** The most a function's frame may hold (MAX_BPF_STACK, include/linux/filter.h). */
const MAX_FRAME = 512;

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

/** Frame slots get their places below r10, the largest alignment first. */
function placeSlots(fn: MachineFunction): number[] {
  const offsets: number[] = [];
  let depth = 0;
  const bySize = fn.frame.map((size, slot) => ({ size, slot })).toSorted((a, b) => b.size - a.size);
  for (const { size, slot } of bySize) {
    depth += Math.ceil(size / 8) * 8;
    offsets[slot] = -depth;
  }
  if (depth > MAX_FRAME) {
    throw new DslError(
      `compile function ${fn.name}: its frame needs ${String(depth)} bytes and the kernel allows ${String(MAX_FRAME)}; ` +
        'keep fewer values alive at once, or move a part into a func',
    );
  }
  return offsets;
}

function usedSlots(fn: MachineFunction): Set<number> {
  const used = new Set<number>();
  for (const block of fn.blocks) for (const insn of block.insns) if (insn.slot !== undefined) used.add(insn.slot);
  return used;
}

/** One function as a straight list of instructions; jumps carry their distance. */
export function layOut(fn: MachineFunction): Instruction[] {
  const used = usedSlots(fn);
  const offsets = placeSlots({ ...fn, frame: fn.frame.map((size, slot) => (used.has(slot) ? size : 0)) });
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
  return insns.map((insn) => {
    const here = slot;
    slot += slots(insn);
    if (insn.target !== undefined) return placed(insn, { offset: startOf.get(insn.target)! - here - 1 });
    if (insn.slot === undefined) return insn;
    const base = offsets[insn.slot]!;
    const isAddress = (insn.opcode & 0x07) === Class.ALU64 && (insn.opcode & Source.REG) === 0;
    return placed(insn, isAddress ? { imm: insn.imm + base } : { offset: insn.offset + base });
  });
}

function placed({ target: _target, slot: _slot, ...insn }: Instruction, where: Partial<Instruction>): Instruction {
  return { ...insn, ...where };
}
