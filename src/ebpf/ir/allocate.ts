/**
 * Register allocation by graph colouring with iterated coalescing (George and Appel, TOPLAS 18(3), 1996).
 *
 * The colours are r0-r9; r0-r5 are lost at calls, which the interference of a call's clobbers expresses, so that what lives
 * across one ends up in r6-r9 or in the frame.
 */
import type { Instruction } from '../asm/instruction.ts';
import { DslError } from '../errors.ts';
import { FIRST_VREG } from './ir.ts';
import { liveOut, Summary } from './liveness.ts';
import { colour, type InterferenceGraph } from './colour.ts';
import { EdgeList, NOBODY, OrderedSet } from './interference.ts';
import {
  blockInstructions,
  type Effects,
  effects,
  endSuccessors,
  isMove,
  type MachineBlock,
  type MachineFunction,
  renameRegisters,
} from './machine.ts';
import { spill } from './spill.ts';

/** A register's spilling price: each access counts ten times more a loop. */
function accessWeight(depth: number): number {
  return 10 ** Math.min(depth, 6);
}

/** A block's instructions with what each reads and writes. */
interface Scanned {
  readonly block: MachineBlock;
  readonly insns: readonly Instruction[];
  readonly effects: readonly Effects[];
}

function scan(block: MachineBlock): Scanned {
  const insns = blockInstructions(block);
  return { block, insns, effects: insns.map(effects) };
}

function liveAtEnds(blocks: readonly Scanned[], registers: number): Map<number, number[]> {
  const summary = new Summary(registers);
  return liveOut(
    blocks.map(({ block, effects: all }) => {
      summary.begin();
      for (const { uses, defs } of all) {
        uses.forEach(summary.use);
        defs.forEach(summary.def);
      }
      return { id: block.id, successors: endSuccessors(block.end), ...summary.end() };
    }),
  );
}

/** How many numbers a graph of these blocks takes at most. */
function countRegisters(blocks: readonly Scanned[], nextVReg: number): number {
  const seen = new Uint8Array(nextVReg);
  let count = FIRST_VREG;
  const see = (register: number): void => {
    if (register < FIRST_VREG || seen[register]) return;
    seen[register] = 1;
    count++;
  };
  for (const { effects: all } of blocks) {
    for (const { uses, defs } of all) {
      uses.forEach(see);
      defs.forEach(see);
    }
  }
  return count;
}

/** A graph whose nodes are the live registers: r0-r9 keep their numbers, the others follow from FIRST_VREG on. */
interface NumberedGraph {
  readonly graph: InterferenceGraph;
  /** The register of each number. */
  readonly registers: readonly number[];
}

function buildGraph(fn: MachineFunction, unspillable: ReadonlySet<number>): NumberedGraph {
  const blocks = fn.blocks.map(scan);
  const size = countRegisters(blocks, fn.nextVReg);
  const registers = Array.from({ length: FIRST_VREG }, (_, register) => register);
  const numbers = new Int32Array(fn.nextVReg);
  const spillCost: number[] = [];
  const numberOf = (register: number): number => {
    if (register < FIRST_VREG) return register;
    if (numbers[register] === 0) {
      numbers[register] = registers.push(register) - 1;
      spillCost[registers.length - 1] = 0;
    }
    return numbers[register]!;
  };
  const edges = new EdgeList(size);
  const moves: [number, number][] = [];
  const live = liveAtEnds(blocks, fn.nextVReg);
  const alive = new OrderedSet(size);
  for (const { block, insns, effects: all } of blocks) {
    alive.clear();
    for (const register of live.get(block.id)!) alive.add(numberOf(register));
    const weight = accessWeight(block.depth);
    const access = (register: number): number => {
      const number = numberOf(register);
      if (number >= FIRST_VREG) spillCost[number]! += unspillable.has(register) ? Infinity : weight;
      return number;
    };
    for (let index = insns.length - 1; index >= 0; index--) {
      const insn = insns[index]!;
      const { uses, defs } = all[index]!;
      if (isMove(insn)) {
        alive.delete(numberOf(insn.src));
        if (insn.dst !== insn.src) moves.push([numberOf(insn.dst), numberOf(insn.src)]);
      }
      for (const def of defs) alive.add(numberOf(def));
      for (const def of defs) {
        const number = access(def);
        for (let other = alive.first; other !== NOBODY; other = alive.after(other)) edges.add(number, other);
      }
      for (const def of defs) alive.delete(numberOf(def));
      for (const use of uses) alive.add(access(use));
    }
  }
  return { graph: { edges: edges.pairs, moves, size: registers.length, spillCost }, registers };
}

/** Gives every virtual register one of r0-r9, spilling to the frame where they do not suffice, and drops copies to self. */
export function allocateRegisters(fn: MachineFunction): void {
  const unspillable = new Set<number>();
  const loaded = new Set<number>();
  for (;;) {
    const { graph, registers } = buildGraph(fn, unspillable);
    const { colours, spilled: numbers } = colour(graph);
    if (numbers.size > 0) {
      const spilled = new Set([...numbers].map((number) => registers[number]!));
      if ([...spilled].every((register) => unspillable.has(register))) {
        throw new DslError(`compile function ${fn.name}: one instruction needs more registers than there are`);
      }
      const edges = graph.edges.filter((_, at) => numbers.has(graph.edges[at]!) && numbers.has(graph.edges[at ^ 1]!));
      spill(fn, { spilled, edges: edges.map((number) => registers[number]!), unspillable, loaded });
      continue;
    }
    const colourOf = new Map([...colours].map(([number, register]) => [registers[number]!, register]));
    const rename = (register: number): number => colourOf.get(register) ?? register;
    const renamed = (insn: Instruction): Instruction => renameRegisters(insn, rename);
    for (const block of fn.blocks) {
      block.insns = block.insns.map(renamed).filter((insn) => !(isMove(insn) && insn.dst === insn.src));
      if (block.end.kind === 'branch') block.end = { ...block.end, test: renamed(block.end.test) };
    }
    return;
  }
}
