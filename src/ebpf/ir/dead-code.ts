import { eachUse, type IrFunction, isPure, type Op, opDef, successors } from './ir.ts';
import { liveOut, Summary } from './liveness.ts';

/** Removes operations without an effect whose result is not read. Returns whether it removed any. */
export function removeDeadCode(fn: IrFunction): boolean {
  const unneeded = removeUnneeded(fn);
  return removeUnread(fn) || unneeded;
}

/** Removes values that no effect and no decision needs, along chains of any length. */
function removeUnneeded(fn: IrFunction): boolean {
  /** By register. */
  const makers: (Op[] | undefined)[] = Array.from({ length: fn.nextVReg });
  const needed = new Uint8Array(fn.nextVReg);
  const waiting: number[] = [];
  const need = (register: number): void => {
    if (needed[register]) return;
    needed[register] = 1;
    waiting.push(register);
  };
  for (const block of fn.blocks) {
    for (const op of block.ops) {
      const def = opDef(op);
      if (def === undefined || !isPure(op)) eachUse(op, need);
      else if (makers[def]?.push(op) === undefined) makers[def] = [op];
    }
    if (block.end) eachUse(block.end, need);
  }
  for (let register = waiting.pop(); register !== undefined; register = waiting.pop()) {
    for (const op of makers[register] ?? []) eachUse(op, need);
  }
  let removed = false;
  for (const block of fn.blocks) {
    const kept = block.ops.filter((op) => {
      const def = opDef(op);
      return def === undefined || needed[def] === 1 || !isPure(op);
    });
    if (kept.length === block.ops.length) continue;
    block.ops = kept;
    removed = true;
  }
  return removed;
}

/** Removes writes that are overwritten before they are read. */
function removeUnread(fn: IrFunction): boolean {
  const summary = new Summary(fn.nextVReg);
  const live = liveOut(
    fn.blocks.map((block) => {
      summary.begin();
      for (const op of block.ops) {
        eachUse(op, summary.use);
        const def = opDef(op);
        if (def !== undefined) summary.def(def);
      }
      if (block.end) eachUse(block.end, summary.use);
      return { id: block.id, successors: successors(block.end), ...summary.end() };
    }),
  );
  let removed = false;
  /** Which block a register was last found alive in, counted from 1; 0 where it is dead. */
  const alive = new Int32Array(fn.nextVReg);
  fn.blocks.forEach((block, index) => {
    const here = index + 1;
    const use = (register: number): void => {
      alive[register] = here;
    };
    live.get(block.id)!.forEach(use);
    if (block.end) eachUse(block.end, use);
    const kept = [];
    for (let at = block.ops.length - 1; at >= 0; at--) {
      const op = block.ops[at]!;
      const def = opDef(op);
      if (def !== undefined && alive[def] !== here && isPure(op)) continue;
      if (def !== undefined) alive[def] = 0;
      eachUse(op, use);
      kept.push(op);
    }
    if (kept.length === block.ops.length) return;
    block.ops = kept.toReversed();
    removed = true;
  });
  return removed;
}
