import { type IrFunction, isPure, opDef, opUses } from './ir.ts';
import { successors } from './ir.ts';
import { liveOut } from './liveness.ts';

/** Removes operations whose result nobody reads and that have no other effect. Returns whether any went. */
export function removeDeadCode(fn: IrFunction): boolean {
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
