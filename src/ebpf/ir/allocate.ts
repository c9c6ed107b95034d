/**
 * Register allocation by graph colouring with iterated coalescing (George and Appel, TOPLAS 18(3), 1996).
 *
 * The colours are r0-r9; r0-r5 are lost at calls, which the interference of a call's clobbers expresses, so that what lives
 * across one ends up in r6-r9 or in the frame. A constant is never spilled: it is made again at each use.
 */
import { FRAME_POINTER, type Instruction, instruction } from '../asm/instruction.ts';
import { Alu, Class, LD_IMM64, Mode, Size } from '../asm/opcode.ts';
import { DslError } from '../errors.ts';
import { FIRST_VREG } from './ir.ts';
import { liveOut } from './liveness.ts';
import { colour, type InterferenceGraph } from './colour.ts';
import { blockInstructions, effects, endSuccessors, isMove, type MachineFunction, renameRegisters } from './machine.ts';

/** A register's spilling price: each access counts ten times more a loop. */
function accessWeight(depth: number): number {
  return 10 ** Math.min(depth, 6);
}

function liveAtEnds(fn: MachineFunction): Map<number, Set<number>> {
  return liveOut(
    fn.blocks.map((block) => {
      const uses = new Set<number>();
      const defs = new Set<number>();
      for (const insn of blockInstructions(block)) {
        const effect = effects(insn);
        for (const use of effect.uses) if (!defs.has(use)) uses.add(use);
        for (const def of effect.defs) defs.add(def);
      }
      return { id: block.id, uses, defs, successors: endSuccessors(block.end) };
    }),
  );
}

function buildGraph(fn: MachineFunction, unspillable: ReadonlySet<number>): InterferenceGraph {
  const edges: number[] = [];
  const moves: [number, number][] = [];
  const nodes = new Set<number>();
  const spillCost = new Map<number, number>();
  const live = liveAtEnds(fn);
  for (const block of fn.blocks) {
    const alive = new Set(live.get(block.id));
    const weight = accessWeight(block.depth);
    const insns = blockInstructions(block);
    for (let index = insns.length - 1; index >= 0; index--) {
      const insn = insns[index]!;
      const { uses, defs } = effects(insn);
      for (const register of [...uses, ...defs]) {
        if (register < FIRST_VREG) continue;
        nodes.add(register);
        const cost = (spillCost.get(register) ?? 0) + weight;
        spillCost.set(register, unspillable.has(register) ? Infinity : cost);
      }
      if (isMove(insn)) {
        alive.delete(insn.src);
        if (insn.dst !== insn.src) moves.push([insn.dst, insn.src]);
      }
      for (const def of defs) alive.add(def);
      for (const def of defs) for (const other of alive) if (other !== def) edges.push(def, other);
      for (const def of defs) alive.delete(def);
      for (const use of uses) alive.add(use);
    }
  }
  return { edges, moves, nodes, spillCost };
}

/** Registers with a single definition that loads a constant: cheaper to make again than to keep in memory. */
function constants(fn: MachineFunction): Map<number, Instruction> {
  const found = new Map<number, Instruction>();
  const several = new Set<number>();
  for (const block of fn.blocks) {
    for (const insn of block.insns) {
      for (const def of effects(insn).defs) {
        if (found.has(def)) several.add(def);
        found.set(def, insn);
      }
    }
  }
  const isConstant = ({ opcode }: Instruction): boolean =>
    opcode === LD_IMM64 || opcode === (Class.ALU64 | Alu.mov) || opcode === (Class.ALU | Alu.mov);
  return new Map([...found].filter(([register, insn]) => !several.has(register) && isConstant(insn)));
}

/** Gives each spilled register a slot of the frame; those that are never alive at once share one. */
function slotsFor(fn: MachineFunction, spilled: readonly number[], edges: readonly number[]): Map<number, number> {
  const wanted = new Set(spilled);
  const neighbours = new Map(spilled.map((register) => [register, new Set<number>()]));
  for (let at = 0; at < edges.length; at += 2) {
    const [a, b] = [edges[at]!, edges[at + 1]!];
    if (!wanted.has(a) || !wanted.has(b)) continue;
    neighbours.get(a)!.add(b);
    neighbours.get(b)!.add(a);
  }
  const slotOf = new Map<number, number>();
  const shared: number[] = [];
  for (const register of spilled) {
    const taken = new Set([...neighbours.get(register)!].map((other) => slotOf.get(other)));
    let slot = shared.find((candidate) => !taken.has(candidate));
    if (slot === undefined) {
      slot = fn.frame.push(8) - 1;
      shared.push(slot);
    }
    slotOf.set(register, slot);
  }
  return slotOf;
}

/** Rewrites every access of the spilled registers to go through memory, each by a fresh register of a single use. */
function spill(
  fn: MachineFunction,
  spilled: ReadonlySet<number>,
  edges: readonly number[],
  unspillable: Set<number>,
): void {
  const remade = constants(fn);
  const slotOf = slotsFor(
    fn,
    [...spilled].filter((register) => !remade.has(register)),
    edges,
  );
  const slot = (register: number): number => slotOf.get(register)!;
  const rewrite = (insn: Instruction, before: Instruction[], after: Instruction[]): Instruction => {
    const { uses, defs } = effects(insn);
    const fresh = new Map<number, number>();
    for (const register of new Set([...uses, ...defs])) {
      if (!spilled.has(register)) continue;
      const stand = fn.nextVReg++;
      unspillable.add(stand);
      fresh.set(register, stand);
      const constant = remade.get(register);
      if (uses.includes(register)) {
        before.push(
          constant
            ? { ...constant, dst: stand }
            : instruction(Class.LDX | Mode.MEM | Size.DW, {
                dst: stand,
                src: FRAME_POINTER,
                slot: slot(register),
                site: insn.site,
                note: 'reload',
              }),
        );
      }
      if (defs.includes(register) && !constant) {
        after.push(
          instruction(Class.STX | Mode.MEM | Size.DW, {
            dst: FRAME_POINTER,
            src: stand,
            slot: slot(register),
            site: insn.site,
            note: 'spill',
          }),
        );
      }
    }
    return fresh.size === 0 ? insn : renameRegisters(insn, (register) => fresh.get(register) ?? register);
  };
  for (const block of fn.blocks) {
    const insns: Instruction[] = [];
    for (const insn of block.insns) {
      if (remade.has(insn.dst) && spilled.has(insn.dst) && effects(insn).defs.includes(insn.dst)) continue;
      const before: Instruction[] = [];
      const after: Instruction[] = [];
      const rewritten = rewrite(insn, before, after);
      insns.push(...before, rewritten, ...after);
    }
    if (block.end.kind === 'branch') {
      const before: Instruction[] = [];
      block.end = { ...block.end, test: rewrite(block.end.test, before, []) };
      insns.push(...before);
    }
    block.insns = insns;
  }
}

/** Gives every virtual register one of r0-r9, spilling to the frame where they do not suffice, and drops copies to self. */
export function allocateRegisters(fn: MachineFunction): void {
  const unspillable = new Set<number>();
  for (;;) {
    const graph = buildGraph(fn, unspillable);
    const { colours, spilled } = colour(graph);
    if (spilled.size > 0) {
      if ([...spilled].every((register) => unspillable.has(register))) {
        throw new DslError(`compile function ${fn.name}: one instruction needs more registers than there are`);
      }
      spill(fn, spilled, graph.edges, unspillable);
      continue;
    }
    const rename = (register: number): number => colours.get(register) ?? register;
    const renamed = (insn: Instruction): Instruction => renameRegisters(insn, rename);
    for (const block of fn.blocks) {
      block.insns = block.insns.map(renamed).filter((insn) => !(isMove(insn) && insn.dst === insn.src));
      if (block.end.kind === 'branch') block.end = { ...block.end, test: renamed(block.end.test) };
    }
    return;
  }
}
