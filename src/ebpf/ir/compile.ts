import { disassembleAll } from '../asm/disassemble.ts';
import { slots, type Instruction } from '../asm/instruction.ts';
import type { Signature } from '../btf/btf.ts';
import type { CallSite } from '../source-location.ts';
import { allocateRegisters } from './allocate.ts';
import { propagateCopies } from './copy-propagation.ts';
import { removeDeadCode } from './dead-code.ts';
import { dumpFunction } from './dump.ts';
import { checkCallChains, type Frame } from './frame.ts';
import type { FunctionCache, FunctionCode } from './function-cache.ts';
import type { IrFunction } from './ir.ts';
import { removeUnreachable, threadJumps } from './jump-threading.ts';
import { layOut } from './layout.ts';
import { allocateNaively } from './naive.ts';
import { selectInstructions } from './select.ts';
import { type ParametersOf, verifyFunction } from './verify.ts';

/** `optimizing` allocates registers and cleans up; `naive` keeps every value in the frame and is the oracle of the tests. */
export type Backend = 'optimizing' | 'naive';

/** A function in the finished program, with the slot where it begins. */
export interface CompiledFunction {
  readonly name: string;
  readonly slot: number;
  readonly signature: Signature;
  readonly site: CallSite;
}

/** Instructions of a whole program, the main function first; maps and functions are still named. */
export interface CompiledCode {
  readonly insns: readonly Instruction[];
  readonly functions: readonly CompiledFunction[];
}

function copyOf(fn: IrFunction): IrFunction {
  return { ...fn, blocks: fn.blocks.map((block) => ({ ...block, ops: [...block.ops] })), frame: [...fn.frame] };
}

function optimize(fn: IrFunction): void {
  threadJumps(fn);
  do {
    do {
      propagateCopies(fn);
      removeUnreachable(fn); // what became known may have settled a branch
    } while (removeDeadCode(fn));
  } while (threadJumps(fn));
}

let everyPass = false;

/** From here on the results of the passes are verified too, not only their input: for tests. */
export function verifyEveryPass(): void {
  everyPass = true;
}

function compileFunction(original: IrFunction, backend: Backend, parameters: ParametersOf): FunctionCode {
  verifyFunction(original, parameters);
  const fn = copyOf(original);
  if (backend === 'optimizing') optimize(fn);
  else removeUnreachable(fn);
  if (everyPass) verifyFunction(fn, parameters);
  const machine = selectInstructions(fn);
  if (backend === 'optimizing') allocateRegisters(machine);
  else allocateNaively(machine);
  return { ...layOut(machine), site: original.site };
}

/**
 * Compiles the main function and those it comes to call, one after the other; what no path calls is left out. What the cache has is not
 * compiled again. @throws DslError for too large frames.
 */
export function compileFunctions(
  functions: readonly IrFunction[],
  backend: Backend,
  cache?: FunctionCache,
): CompiledCode {
  const compileOne = (fn: IrFunction): FunctionCode =>
    compileFunction(fn, backend, (callee) => byName.get(callee)?.params.length);
  const byName = new Map(functions.map((fn) => [fn.name, fn]));
  const waiting = functions.slice(0, 1);
  const insns: Instruction[] = [];
  const compiled: CompiledFunction[] = [];
  const frames = new Map<string, Frame>();
  let slot = 0;
  for (const fn of waiting) {
    const { insns: own, frame, site } = cache ? cache.compiled(fn, compileOne) : compileOne(fn);
    compiled.push({ name: fn.name, slot, signature: fn.signature, site });
    frames.set(fn.name, frame);
    for (const insn of own) {
      insns.push(insn);
      slot += slots(insn);
      const callee = insn.callee === undefined ? undefined : byName.get(insn.callee);
      if (callee && !waiting.includes(callee)) waiting.push(callee);
    }
  }
  const ownStacks = new Set(waiting.filter((fn) => fn.ownStack).map((fn) => fn.name));
  checkCallChains(frames.get(functions[0]!.name)!, frames, ownStacks);
  return { insns, functions: compiled };
}

/** The program at each step as text: what the DSL emitted, what optimization left, and the bytecode. */
export function dumpSteps(functions: readonly IrFunction[]): { ir: string; optimized: string; bytecode: string } {
  const optimized = functions.map((original) => {
    const fn = copyOf(original);
    optimize(fn);
    return dumpFunction(fn);
  });
  return {
    ir: functions.map(dumpFunction).join('\n\n'),
    optimized: optimized.join('\n\n'),
    bytecode: disassembleAll(compileFunctions(functions, 'optimizing').insns),
  };
}
