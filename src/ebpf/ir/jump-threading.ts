import { foldBranch } from './fold.ts';
import { type Block, type IrFunction, mapUses, opDef, successors, type Terminator } from './ir.ts';

/**
 * Shortens paths through the graph: no jumps to jumps, none to decisions whose outcome is known on the path, one block for equal exits, straight
 * lines merged, unreachable blocks removed. Returns whether a decision was skipped, after which more may be dead.
 */
export function threadJumps(fn: IrFunction): boolean {
  shareExits(fn);
  const skipped = new Threading(fn).thread();
  removeUnreachable(fn);
  mergeStraightLines(fn);
  return skipped;
}

interface Edge {
  readonly from: Block;
  readonly end: Terminator;
  readonly to: number;
}

/** How far back a register's number is looked for, in blocks. */
const FAR = 8;

/**
 * Redirects each edge past the blocks that only decide on it. Facts about the old graph stay true, because the new paths leave out blocks that change
 * nothing. So all facts are looked up in the old edges.
 */
class Threading {
  readonly #blocks: ReadonlyMap<number, Block>;
  readonly #before = new Map<number, Edge[]>();
  readonly #list: readonly Block[];
  #skipped = false;

  constructor(fn: IrFunction) {
    this.#list = fn.blocks;
    this.#blocks = new Map(fn.blocks.map((block) => [block.id, block]));
    for (const from of fn.blocks) {
      for (const to of successors(from.end)) {
        const edge = { from, end: from.end!, to };
        if (this.#before.get(to)?.push(edge) === undefined) this.#before.set(to, [edge]);
      }
    }
  }

  thread(): boolean {
    // Nothing is redirected before all destinations are known: blocks are read as they were.
    const ends = this.#list.map((block) => block.end && this.#retarget(block, block.end));
    this.#list.forEach((block, index) => {
      block.end = ends[index];
    });
    return this.#skipped;
  }

  #retarget(from: Block, end: Terminator): Terminator {
    if (end.op === 'exit') return end;
    if (end.op === 'jump') return { ...end, to: this.#destination({ from, end, to: end.to }) };
    const then = this.#destination({ from, end, to: end.then });
    const otherwise = this.#destination({ from, end, to: end.otherwise });
    return then === otherwise ? { op: 'jump', to: then, site: end.site } : { ...end, then, otherwise };
  }

  /** Where an edge ends up once blocks that only lead on are skipped. */
  #destination(edge: Edge): number {
    const seen = new Set<number>();
    let at = edge.to;
    for (;;) {
      const block = this.#blocks.get(at);
      if (!block?.end || block.ops.length > 0 || seen.has(at)) return at;
      seen.add(at);
      const settled = block.end.op === 'branch' ? this.#settled(block.end, edge) : block.end;
      if (settled.op !== 'jump') return at;
      this.#skipped ||= settled !== block.end;
      at = settled.to;
    }
  }

  /** A decision, with what is known of its operands on this edge. */
  #settled(end: Terminator, edge: Edge): Terminator {
    return foldBranch(mapUses(end, (operand) => (typeof operand === 'number' ? this.#known(operand, edge) : operand)));
  }

  /** The number that a register has on an edge, if all ways there agree on it, or the register itself. */
  #known(register: number, edge: Edge): number | bigint {
    let at = edge;
    for (let steps = 0; steps < FAR; steps++) {
      const { end, from } = at;
      if (end.op === 'branch' && end.then !== end.otherwise && end.a === register && typeof end.b === 'bigint') {
        // A narrow comparison says nothing of the bits above.
        const equal =
          end.width === 64 &&
          ((end.compare === 'eq' && at.to === end.then) || (end.compare === 'ne' && at.to === end.otherwise));
        if (equal) return end.b;
      }
      const made = from.ops.findLast((op) => opDef(op) === register);
      if (made) return made.op === 'mov' && typeof made.src === 'bigint' ? made.src : register;
      const [before, ...others] = this.#before.get(from.id) ?? [];
      if (!before || others.length > 0 || from === this.#list[0]) return register;
      at = before;
    }
    return register;
  }
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
