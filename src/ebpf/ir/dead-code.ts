import { type IrFunction, isPure, type Op, opDef, opUses, successors, type Terminator } from './ir.ts';
import { liveOut } from './liveness.ts';

/** Removes operations whose result nobody reads and that have no other effect. Returns whether any went. */
export function removeDeadCode(fn: IrFunction): boolean {
  const unneeded = removeUnneeded(fn);
  return removeUnread(fn) || unneeded;
}

/** Removes what no effect and no decision comes to need, however long the chain of values is. */
function removeUnneeded(fn: IrFunction): boolean {
  const makers = new Map<number, Op[]>();
  const needed = new Set<number>();
  const waiting: number[] = [];
  const need = (op: Op | Terminator): void => {
    for (const register of opUses(op)) {
      if (needed.has(register)) continue;
      needed.add(register);
      waiting.push(register);
    }
  };
  for (const block of fn.blocks) {
    for (const op of block.ops) {
      const def = opDef(op);
      if (def === undefined || !isPure(op)) need(op);
      else if (makers.get(def)?.push(op) === undefined) makers.set(def, [op]);
    }
    if (block.end) need(block.end);
  }
  for (let register = waiting.pop(); register !== undefined; register = waiting.pop()) {
    for (const op of makers.get(register) ?? []) need(op);
  }
  let removed = false;
  for (const block of fn.blocks) {
    const before = block.ops.length;
    block.ops = block.ops.filter((op) => {
      const def = opDef(op);
      return def === undefined || !isPure(op) || needed.has(def);
    });
    removed ||= block.ops.length < before;
  }
  return removed;
}

/** Removes what is written again before it is read. */
function removeUnread(fn: IrFunction): boolean {
  const live = liveOut(
    fn.blocks.map((block) => {
      const uses = new Set<number>();
      const defs = new Set<number>();
      for (const op of [...block.ops, ...(block.end ? [block.end] : [])]) {
        for (const use of opUses(op)) if (!defs.has(use)) uses.add(use);
        const def = 'dst' in op ? op.dst : undefined;
        if (def !== undefined) defs.add(def);
      }
      return { id: block.id, uses, defs, successors: successors(block.end) };
    }),
  );
  let removed = false;
  for (const block of fn.blocks) {
    const alive = new Set(live.get(block.id));
    if (block.end) for (const use of opUses(block.end)) alive.add(use);
    const kept = [];
    for (let index = block.ops.length - 1; index >= 0; index--) {
      const op = block.ops[index]!;
      const def = opDef(op);
      if (isPure(op) && def !== undefined && !alive.has(def)) {
        removed = true;
        continue;
      }
      if (def !== undefined) alive.delete(def);
      for (const use of opUses(op)) alive.add(use);
      kept.push(op);
    }
    block.ops = kept.toReversed();
  }
  return removed;
}
