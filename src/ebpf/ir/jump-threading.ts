import { type Block, type IrFunction, successors, type Terminator } from './ir.ts';

/** Shortens the ways through the graph: no jumps to jumps, one block for equal exits, straight lines merged, the rest gone. */
export function threadJumps(fn: IrFunction): void {
  shareExits(fn);
  const blocks = new Map(fn.blocks.map((block) => [block.id, block]));
  for (const block of fn.blocks) if (block.end) block.end = retarget(block.end, blocks);
  removeUnreachable(fn);
  mergeStraightLines(fn);
}

/** Where a jump to `id` ends up once blocks that only jump on are skipped. */
function destination(id: number, blocks: ReadonlyMap<number, Block>): number {
  const seen = new Set<number>();
  let at = id;
  for (;;) {
    const block = blocks.get(at);
    if (!block || block.ops.length > 0 || block.end?.op !== 'jump' || seen.has(at)) return at;
    seen.add(at);
    at = block.end.to;
  }
}

function retarget(end: Terminator, blocks: ReadonlyMap<number, Block>): Terminator {
  if (end.op === 'jump') {
    return { ...end, to: destination(end.to, blocks) };
  }
  if (end.op !== 'branch') return end;
  const then = destination(end.then, blocks);
  const otherwise = destination(end.otherwise, blocks);
  return then === otherwise ? { op: 'jump', to: then, site: end.site } : { ...end, then, otherwise };
}

/** Ways out with the same constant share one block, at the place of the last of them. */
function shareExits(fn: IrFunction): void {
  const shared = new Map<bigint, number>();
  const blocks: Block[] = [];
  let nextId = Math.max(...fn.blocks.map((block) => block.id)) + 1;
  for (const block of fn.blocks.toReversed()) {
    const { end } = block;
    if (end?.op === 'exit' && typeof end.value === 'bigint') {
      const to = shared.get(end.value);
      const way = to ?? (block.ops.length === 0 ? block.id : nextId++);
      shared.set(end.value, way);
      if (to === undefined && way !== block.id) blocks.push({ id: way, depth: block.depth, ops: [], end });
      if (way !== block.id) block.end = { op: 'jump', to: way, site: end.site };
    }
    blocks.push(block);
  }
  fn.blocks = blocks.toReversed();
}

/** Drops the blocks that no path reaches; the verifier refuses a program that has any. */
export function removeUnreachable(fn: IrFunction): void {
  const byId = new Map(fn.blocks.map((block) => [block.id, block]));
  const reached = new Set<number>();
  const waiting = [fn.blocks[0]!.id];
  for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
    if (reached.has(id)) continue;
    reached.add(id);
    waiting.push(...successors(byId.get(id)?.end));
  }
  fn.blocks = fn.blocks.filter((block) => reached.has(block.id));
}

function mergeStraightLines(fn: IrFunction): void {
  const predecessors = new Map<number, number>();
  for (const block of fn.blocks) {
    for (const next of successors(block.end)) predecessors.set(next, (predecessors.get(next) ?? 0) + 1);
  }
  const byId = new Map(fn.blocks.map((block) => [block.id, block]));
  const gone = new Set<number>();
  for (const block of fn.blocks) {
    if (gone.has(block.id)) continue;
    while (block.end?.op === 'jump') {
      const next = byId.get(block.end.to);
      if (!next || next === block || next === fn.blocks[0] || predecessors.get(next.id) !== 1) break;
      block.ops = [...block.ops, ...next.ops];
      block.end = next.end;
      gone.add(next.id);
    }
  }
  fn.blocks = fn.blocks.filter((block) => !gone.has(block.id));
}
