import { foldBranch, foldOp } from './fold.ts';
import { type IrFunction, mapUses, type Op, opDef, type Operand } from './ir.ts';

/**
 * Replaces reads of a copy by reads of its source: anywhere for temporaries (one definition each, which dominates every use
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

  breakCircles(everywhere);

  for (const block of fn.blocks) {
    const here = new Map<number, Operand>();
    /** The registers that are copies of a register here, or were. */
    const copiesOf = new Map<number, number[]>();
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
        for (const copy of copiesOf.get(def) ?? []) if (here.get(copy) === def) here.delete(copy);
        copiesOf.delete(def);
        if (op.op === 'mov') {
          here.set(def, op.src);
          if (typeof op.src === 'number' && copiesOf.get(op.src)?.push(def) === undefined) copiesOf.set(op.src, [def]);
        }
      }
      ops.push(op);
    }
    block.ops = ops;
    if (block.end) block.end = foldBranch(mapUses(block.end, resolve));
  }
}

/** Where no path comes any more, copies may be left that only name each other; they are forgotten. Looks at each copy once. */
function breakCircles(sources: Map<number, Operand>): void {
  const settled = new Set<number>();
  for (const first of Array.from(sources.keys())) {
    const path = new Set<number>();
    let at: Operand | undefined = first;
    while (typeof at === 'number' && !settled.has(at) && !path.has(at)) {
      path.add(at);
      at = sources.get(at);
    }
    for (const copy of path) settled.add(copy);
    if (typeof at !== 'number' || !path.has(at)) continue;
    for (let copy: Operand | undefined = at; typeof copy === 'number';) {
      const next: Operand | undefined = sources.get(copy);
      sources.delete(copy);
      copy = next;
    }
  }
}
