import { foldBranch, foldOp } from './fold.ts';
import { type IrFunction, mapUses, type Op, opDef, type Operand } from './ir.ts';

/**
 * Replaces reads of a copy by what was copied: anywhere for temporaries (one definition each, which dominates every use
 * because the DSL is structured), and within a block for variables until either side is written again.
 */
export function propagateCopies(fn: IrFunction): void {
  const definitions = new Map<number, number>();
  for (const param of fn.params) definitions.set(param, 1);
  for (const block of fn.blocks) {
    for (const op of block.ops) {
      const def = opDef(op);
      if (def !== undefined) definitions.set(def, (definitions.get(def) ?? 0) + 1);
    }
  }
  const single = (operand: Operand): boolean => typeof operand === 'bigint' || definitions.get(operand) === 1;

  const everywhere = new Map<number, Operand>();
  for (const block of fn.blocks) {
    for (const op of block.ops) {
      if (op.op === 'mov' && single(op.dst) && single(op.src)) everywhere.set(op.dst, op.src);
    }
  }

  // Where no path comes any more, copies may be left that only name each other.
  for (const copy of everywhere.keys()) if (isCircular(copy, everywhere)) everywhere.delete(copy);

  for (const block of fn.blocks) {
    const here = new Map<number, Operand>();
    const resolve = (operand: Operand): Operand => {
      let value = operand;
      for (;;) {
        const source: Operand | undefined =
          typeof value === 'number' ? (here.get(value) ?? everywhere.get(value)) : undefined;
        if (source === undefined) return value;
        value = source;
      }
    };
    const ops: Op[] = [];
    for (const original of block.ops) {
      const op = foldOp(mapUses(original, resolve));
      const def = opDef(op);
      // A copy to itself, left by an exchange of copies, does nothing, and would be its own source for ever.
      if (op.op === 'mov' && op.src === def) continue;
      if (def !== undefined) {
        here.delete(def);
        for (const [copy, source] of here) if (source === def) here.delete(copy);
        if (op.op === 'mov') here.set(def, op.src);
      }
      ops.push(op);
    }
    block.ops = ops;
    if (block.end) block.end = foldBranch(mapUses(block.end, resolve));
  }
}

function isCircular(copy: number, sources: ReadonlyMap<number, Operand>): boolean {
  let steps = 0;
  for (let at = sources.get(copy); typeof at === 'number' && steps <= sources.size; at = sources.get(at)) {
    if (at === copy) return true;
    steps++;
  }
  return false;
}
