/** A block of a control-flow graph, as far as dominance is concerned. */
export interface GraphNode {
  readonly id: number;
  readonly successors: readonly number[];
}

/**
 * Which block lies on every way to which: gives `dominates(a, b)`. The first node is the entry, and all can be reached.
 * (Cooper, Harvey, Kennedy: A Simple, Fast Dominance Algorithm, 2001.)
 */
export function dominators(nodes: readonly GraphNode[]): (a: number, b: number) => boolean {
  const order = postorder(nodes);
  const rank = new Map(order.map((id, index) => [id, index]));
  const predecessors = new Map<number, number[]>(nodes.map(({ id }) => [id, []]));
  for (const { id, successors } of nodes) for (const next of successors) predecessors.get(next)!.push(id);
  const entry = nodes[0]!.id;
  const immediate = new Map<number, number>([[entry, entry]]);
  const meet = (a: number, b: number): number => {
    let [left, right] = [a, b];
    while (left !== right) {
      if (rank.get(left)! < rank.get(right)!) left = immediate.get(left)!;
      else right = immediate.get(right)!;
    }
    return left;
  };
  for (let changed = true; changed;) {
    changed = false;
    for (const id of order.toReversed()) {
      if (id === entry) continue;
      const known = predecessors.get(id)!.filter((before) => immediate.has(before));
      const closest = known.reduce(meet);
      if (immediate.get(id) === closest) continue;
      immediate.set(id, closest);
      changed = true;
    }
  }
  return (a, b) => {
    let at = b;
    while (rank.get(at)! < rank.get(a)!) at = immediate.get(at)!;
    return at === a;
  };
}

function postorder(nodes: readonly GraphNode[]): number[] {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const seen = new Set<number>([nodes[0]!.id]);
  const order: number[] = [];
  const open = [{ node: nodes[0]!, next: 0 }];
  for (let top = open.at(-1); top; top = open.at(-1)) {
    const successor = top.node.successors[top.next++];
    if (successor === undefined) {
      order.push(top.node.id);
      open.pop();
    } else if (!seen.has(successor)) {
      seen.add(successor);
      open.push({ node: byId.get(successor)!, next: 0 });
    }
  }
  return order;
}
