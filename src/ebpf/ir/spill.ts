/**
 * Spilling: values without a register live in the frame. A constant is made again at each use. A value that is written in one place only is loaded
 * once for all uses that follow without a call in between; if that finds no register either, it is loaded again at each use.
 */
import { FRAME_POINTER, type Instruction, instruction, isCall } from '../asm/instruction.ts';
import { Alu, Class, LD_IMM64, Mode, Size } from '../asm/opcode.ts';
import { dominators } from './dominators.ts';
import { effects, endSuccessors, type MachineBlock, type MachineFunction, renameRegisters } from './machine.ts';

export interface SpillRequest {
  readonly spilled: ReadonlySet<number>;
  /** Pairs of registers that are alive at once, one after the other. */
  readonly edges: readonly number[];
  /** Registers that must not be spilled; this pass adds those that it makes for single instructions. */
  readonly unspillable: Set<number>;
  /** Registers that only hold values loaded from the frame; this pass adds its own. */
  readonly loaded: Set<number>;
}

const RELOAD = Class.LDX | Mode.MEM | Size.DW;
const SPILL = Class.STX | Mode.MEM | Size.DW;
const CONSTANTS = new Set<number>([LD_IMM64, Class.ALU64 | Alu.mov, Class.ALU | Alu.mov]);
/** A loaded register is not kept for a use that is further away, in instructions. */
const REACH = 64;

/** Where a register is written. */
interface Definitions {
  count: number;
  /** The only block, and the place in it of the last. */
  block: number | undefined;
  last: number;
  readonly insn: Instruction;
}

function definitionsOf(fn: MachineFunction): Map<number, Definitions> {
  const found = new Map<number, Definitions>();
  for (const block of fn.blocks) {
    block.insns.forEach((insn, index) => {
      for (const def of effects(insn).defs) {
        const known = found.get(def);
        if (!known) {
          found.set(def, { count: 1, block: block.id, last: index, insn });
          continue;
        }
        known.count++;
        known.last = index;
        if (known.block !== block.id) known.block = undefined;
      }
    });
  }
  return found;
}

/** Registers with a single definition that is as cheap as a load from memory: a constant, or such a load from the frame. */
function remakeable(
  definitions: ReadonlyMap<number, Definitions>,
  loaded: ReadonlySet<number>,
): Map<number, Instruction> {
  const remade = new Map<number, Instruction>();
  for (const [register, { count, insn }] of definitions) {
    if (count === 1 && (CONSTANTS.has(insn.opcode) || loaded.has(register))) remade.set(register, insn);
  }
  return remade;
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

/** A register that stands in for a spilled one from a block on, in all that this block dominates. */
interface StandIn {
  readonly register: number;
  readonly block: number;
  /** The place of its last use, in instructions of the whole function. */
  last: number;
}

/** Rewrites every access of the spilled registers to go through memory. */
export function spill(fn: MachineFunction, { spilled, edges, unspillable, loaded }: SpillRequest): void {
  const definitions = definitionsOf(fn);
  const remade = remakeable(definitions, loaded);
  const inFrame = [...spilled].filter((register) => !remade.has(register));
  const slots = slotsFor(fn, inFrame, edges);
  const dominates = dominators(fn.blocks.map(({ id, end }) => ({ id, successors: endSuccessors(end) })));
  let standIns = new Map<number, StandIn>();
  let place = 0;

  const load = (register: number, stand: number, { site }: Instruction): Instruction =>
    instruction(RELOAD, { dst: stand, src: FRAME_POINTER, slot: slots.get(register)!, site, note: 'reload' });
  const store = (register: number, stand: number, { site }: Instruction): Instruction =>
    instruction(SPILL, { dst: FRAME_POINTER, src: stand, slot: slots.get(register)!, site, note: 'spill' });
  /** Whether a register has its final value wherever this place is reached. */
  const settled = (register: number, block: MachineBlock, index: number): boolean => {
    const { block: home, last } = definitions.get(register)!;
    if (home === undefined) return false;
    return home === block.id ? index > last : dominates(home, block.id);
  };
  const forOnce = (): number => {
    const stand = fn.nextVReg++;
    unspillable.add(stand);
    return stand;
  };

  const rewrite = (
    insn: Instruction,
    block: MachineBlock,
    index: number,
    before: Instruction[],
    after: Instruction[],
  ) => {
    const { uses, defs } = effects(insn);
    const names = new Map<number, number>();
    for (const register of new Set([...uses, ...defs])) {
      if (!spilled.has(register)) continue;
      const constant = remade.get(register);
      if (constant) {
        if (!uses.includes(register)) continue;
        const stand = forOnce();
        before.push({ ...constant, dst: stand });
        names.set(register, stand);
        continue;
      }
      if (defs.includes(register) || !settled(register, block, index)) {
        const stand = forOnce();
        if (uses.includes(register)) before.push(load(register, stand, insn));
        if (defs.includes(register)) after.push(store(register, stand, insn));
        names.set(register, stand);
        continue;
      }
      let known = standIns.get(register);
      if (!known || place - known.last > REACH || !dominates(known.block, block.id)) {
        known = { register: fn.nextVReg++, block: block.id, last: place };
        standIns.set(register, known);
        loaded.add(known.register);
        before.push(load(register, known.register, insn));
      }
      known.last = place;
      names.set(register, known.register);
    }
    return names.size === 0 ? insn : renameRegisters(insn, (register) => names.get(register) ?? register);
  };

  for (const block of fn.blocks) {
    const insns: Instruction[] = [];
    block.insns.forEach((insn, index) => {
      place++;
      if (remade.has(insn.dst) && spilled.has(insn.dst) && effects(insn).defs.includes(insn.dst)) return;
      if (insn.opcode === (Class.ALU64 | Alu.mov) && spilled.has(insn.dst)) {
        // A constant goes to memory without a register; the frame keeps the sign as a register does.
        const { imm, site } = insn;
        insns.push(
          instruction(Class.ST | Mode.MEM | Size.DW, {
            dst: FRAME_POINTER,
            imm,
            slot: slots.get(insn.dst)!,
            site,
            note: 'spill',
          }),
        );
        return;
      }
      const before: Instruction[] = [];
      const after: Instruction[] = [];
      const rewritten = rewrite(insn, block, index, before, after);
      insns.push(...before, rewritten, ...after);
      if (isCall(insn)) standIns = new Map();
    });
    if (block.end.kind === 'branch') {
      const before: Instruction[] = [];
      block.end = { ...block.end, test: rewrite(block.end.test, block, block.insns.length, before, []) };
      insns.push(...before);
    }
    block.insns = insns;
  }
}
