/** A node of a control-flow graph, as far as liveness is concerned: what it reads before writing, and what it writes. */
export interface LivenessNode {
  readonly id: number;
  readonly uses: ReadonlySet<number>;
  readonly defs: ReadonlySet<number>;
  readonly successors: readonly number[];
}

/** The registers live at the end of each block, by block number: backward data flow until nothing changes. */
export function liveOut(nodes: readonly LivenessNode[]): Map<number, Set<number>> {
  const liveIn = new Map(nodes.map((node) => [node.id, new Set(node.uses)]));
  const out = new Map(nodes.map((node) => [node.id, new Set<number>()]));
  for (let changed = true; changed;) {
    changed = false;
    for (let index = nodes.length - 1; index >= 0; index--) {
      const node = nodes[index]!;
      const live = out.get(node.id)!;
      const before = live.size;
      for (const next of node.successors) for (const register of liveIn.get(next) ?? []) live.add(register);
      if (live.size === before) continue;
      changed = true;
      const entering = liveIn.get(node.id)!;
      for (const register of live) if (!node.defs.has(register)) entering.add(register);
    }
  }
  return out;
}
