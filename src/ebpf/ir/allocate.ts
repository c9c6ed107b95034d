/**
 * Register allocation by graph colouring with iterated coalescing (George and Appel, TOPLAS 18(3), 1996).
 *
 * The colours are r0-r9; r0-r5 are lost at calls, which the interference of a call's clobbers expresses, so that what lives
 * across one ends up in r6-r9 or in the frame.
 */
import type { Instruction } from '../asm/instruction.ts';
import { DslError } from '../errors.ts';
import { FIRST_VREG } from './ir.ts';
import { liveOut } from './liveness.ts';
import { colour, type InterferenceGraph } from './colour.ts';
import { blockInstructions, effects, endSuccessors, isMove, type MachineFunction, renameRegisters } from './machine.ts';
import { spill } from './spill.ts';

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

/** Gives every virtual register one of r0-r9, spilling to the frame where they do not suffice, and drops copies to self. */
export function allocateRegisters(fn: MachineFunction): void {
  const unspillable = new Set<number>();
  const loaded = new Set<number>();
  for (;;) {
    const graph = buildGraph(fn, unspillable);
    const { colours, spilled } = colour(graph);
    if (spilled.size > 0) {
      if ([...spilled].every((register) => unspillable.has(register))) {
        throw new DslError(`compile function ${fn.name}: one instruction needs more registers than there are`);
      }
      spill(fn, { spilled, edges: graph.edges, unspillable, loaded });
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
