/** The colouring half of register allocation: simplify, coalesce, freeze, select, as in the paper that allocate.ts names. */
import { FIRST_VREG } from './ir.ts';

/** r0-r9 are the colours. */
const REGISTERS = 10;

/** What interferes with what, which copies could vanish, and what each register would cost in memory. */
export interface InterferenceGraph {
  /** Pairs, one after the other. */
  readonly edges: readonly number[];
  readonly moves: readonly (readonly [number, number])[];
  readonly nodes: ReadonlySet<number>;
  readonly spillCost: ReadonlyMap<number, number>;
}

export interface Colouring {
  /** The physical register of each virtual one. */
  readonly colours: ReadonlyMap<number, number>;
  /** What found no register. */
  readonly spilled: ReadonlySet<number>;
}

interface Move {
  readonly dst: number;
  readonly src: number;
  state: 'waiting' | 'active' | 'done';
}

const isPhysical = (node: number): boolean => node < FIRST_VREG;

export function colour(graph: InterferenceGraph): Colouring {
  return new Colourer(graph).run();
}

class Colourer {
  readonly #graph: InterferenceGraph;
  /** Neighbours of the virtual nodes; physical ones have everyone, so they keep no list. */
  readonly #neighbours = new Map<number, Set<number>>();
  readonly #physicalNeighbours: Set<number>[] = Array.from({ length: REGISTERS }, () => new Set());
  readonly #degree = new Map<number, number>();
  /** Copies to be looked at, in order, from `nextWaiting` on. */
  readonly #waiting: Move[] = [];
  #nextWaiting = 0;
  readonly #movesOf = new Map<number, Move[]>();
  readonly #alias = new Map<number, number>();
  readonly #removed = new Set<number>();
  readonly #stack: number[] = [];
  readonly #remaining: Set<number>;
  /** Of those that remain, the ones with fewer neighbours than there are registers. */
  readonly #light: Set<number>;
  /** What spilling a node costs that others were merged into. */
  readonly #cost = new Map<number, number>();

  constructor(graph: InterferenceGraph) {
    this.#graph = graph;
    this.#remaining = new Set(graph.nodes);
    this.#light = new Set(graph.nodes);
    for (const node of graph.nodes) {
      this.#neighbours.set(node, new Set());
      this.#degree.set(node, 0);
    }
    for (let at = 0; at < graph.edges.length; at += 2) this.#addEdge(graph.edges[at]!, graph.edges[at + 1]!);
    for (const [dst, src] of graph.moves) {
      const move: Move = { dst, src, state: 'waiting' };
      this.#waiting.push(move);
      for (const node of [dst, src]) {
        const list = this.#movesOf.get(node) ?? [];
        list.push(move);
        this.#movesOf.set(node, list);
      }
    }
  }

  run(): Colouring {
    while (this.#remaining.size > 0) {
      if (this.#simplify()) continue;
      const move = this.#nextMove();
      if (move) {
        this.#coalesce(move);
        continue;
      }
      if (this.#freeze()) continue;
      this.#push(this.#cheapest());
    }
    return this.#select();
  }

  /** The next copy that may be merged, if any. */
  #nextMove(): Move | undefined {
    for (;;) {
      const move = this.#waiting[this.#nextWaiting];
      if (!move) return undefined;
      this.#nextWaiting++;
      if (move.state === 'waiting') return move;
    }
  }

  #interferes(a: number, b: number): boolean {
    if (isPhysical(a) && isPhysical(b)) return true;
    if (isPhysical(a)) return this.#physicalNeighbours[a]!.has(b);
    if (isPhysical(b)) return this.#physicalNeighbours[b]!.has(a);
    return this.#neighbours.get(a)!.has(b);
  }

  #addEdge(a: number, b: number): void {
    if (a === b || (isPhysical(a) && isPhysical(b)) || this.#interferes(a, b)) return;
    this.#addNeighbour(a, b);
    this.#addNeighbour(b, a);
  }

  #addNeighbour(node: number, other: number): void {
    if (isPhysical(node)) {
      this.#physicalNeighbours[node]!.add(other);
    } else {
      this.#neighbours.get(node)!.add(other);
      const degree = this.#degree.get(node)! + 1;
      this.#degree.set(node, degree);
      if (degree === REGISTERS) this.#light.delete(node);
    }
  }

  #adjacent(node: number): number[] {
    return [...this.#neighbours.get(node)!].filter((other) => !this.#removed.has(other));
  }

  #degreeOf(node: number): number {
    return isPhysical(node) ? Infinity : this.#degree.get(node)!;
  }

  #openMoves(node: number): Move[] {
    return (this.#movesOf.get(node) ?? []).filter((move) => move.state !== 'done');
  }

  /** Sets aside a node that is sure to find a colour; those with copies wait for their chance to be merged. */
  #simplify(): boolean {
    for (const node of this.#light) {
      if (this.#openMoves(node).length > 0) continue;
      this.#push(node);
      return true;
    }
    return false;
  }

  #push(node: number): void {
    this.#stack.push(node);
    for (const move of this.#openMoves(node)) move.state = 'done';
    this.#takeOut(node);
  }

  #takeOut(node: number): void {
    this.#remaining.delete(node);
    this.#light.delete(node);
    this.#removed.add(node);
    for (const other of this.#neighbours.get(node)!) {
      if (isPhysical(other) || this.#removed.has(other)) continue;
      const degree = this.#degree.get(other)!;
      this.#degree.set(other, degree - 1);
      if (degree !== REGISTERS) continue;
      if (this.#remaining.has(other)) this.#light.add(other);
      this.#enableMoves([other, ...this.#adjacent(other)]);
    }
  }

  /** Copies that were put off may be safe to merge now that a neighbour's degree fell. */
  #enableMoves(nodes: readonly number[]): void {
    for (const node of nodes) {
      for (const move of this.#movesOf.get(node) ?? []) {
        if (move.state !== 'active') continue;
        move.state = 'waiting';
        this.#waiting.push(move);
      }
    }
  }

  #resolve(node: number): number {
    let at = node;
    for (let next = this.#alias.get(at); next !== undefined; next = this.#alias.get(at)) at = next;
    if (at !== node) this.#alias.set(node, at); // the next look is short
    return at;
  }

  #coalesce(move: Move): void {
    const [x, y] = [this.#resolve(move.dst), this.#resolve(move.src)];
    const [kept, merged] = isPhysical(y) ? [y, x] : [x, y];
    if (kept === merged || isPhysical(merged) || this.#removed.has(merged) || this.#removed.has(kept)) {
      move.state = 'done';
    } else if (this.#interferes(kept, merged)) {
      move.state = 'done';
    } else if (isPhysical(kept) ? this.#safeForPhysical(kept, merged) : this.#safe(kept, merged)) {
      move.state = 'done';
      this.#merge(kept, merged);
    } else {
      move.state = 'active';
    }
  }

  /** George's test: each neighbour of the merged node already interferes, or is sure to find a colour. */
  #safeForPhysical(kept: number, merged: number): boolean {
    return this.#adjacent(merged).every(
      (other) => isPhysical(other) || this.#degreeOf(other) < REGISTERS || this.#interferes(other, kept),
    );
  }

  /** Briggs's test: the merged node would have fewer than all colours among its heavy neighbours. */
  #safe(kept: number, merged: number): boolean {
    const neighbours = new Set([...this.#adjacent(kept), ...this.#adjacent(merged)]);
    let heavy = 0;
    for (const other of neighbours) {
      const shared = !isPhysical(other) && this.#interferes(other, kept) && this.#interferes(other, merged);
      if (this.#degreeOf(other) - (shared ? 1 : 0) >= REGISTERS) heavy++;
    }
    return heavy < REGISTERS;
  }

  #merge(kept: number, merged: number): void {
    this.#alias.set(merged, kept);
    this.#cost.set(kept, this.#costOf(kept) + this.#costOf(merged));
    const moves = this.#movesOf.get(kept) ?? [];
    moves.push(...this.#openMoves(merged));
    this.#movesOf.set(kept, moves);
    this.#remaining.delete(merged);
    this.#light.delete(merged);
    for (const other of this.#adjacent(merged)) {
      this.#addEdge(other, kept);
    }
    this.#takeOut(merged);
  }

  /** Gives up merging the copies of one light node, so that it can be set aside. */
  #freeze(): boolean {
    const [node] = this.#light;
    if (node === undefined) return false;
    for (const move of this.#openMoves(node)) move.state = 'done';
    return true;
  }

  #cheapest(): number {
    let best = -1;
    let bestCost = Infinity;
    for (const node of this.#remaining) {
      const cost = (this.#costOf(node) + 1) / Math.max(1, this.#degreeOf(node));
      if (best === -1 || cost < bestCost) [best, bestCost] = [node, cost];
    }
    return best;
  }

  #costOf(node: number): number {
    return this.#cost.get(node) ?? this.#graph.spillCost.get(node) ?? 0;
  }

  #select(): Colouring {
    const colours = new Map<number, number>();
    const spilled = new Set<number>();
    const colourOf = (node: number): number | undefined => (isPhysical(node) ? node : colours.get(node));
    for (const node of this.#stack.toReversed()) {
      const taken = new Set<number>();
      for (const other of this.#neighbours.get(node)!) {
        const colour = colourOf(this.#resolve(other));
        if (colour !== undefined) taken.add(colour);
      }
      const free = FREE_ORDER.find((register) => !taken.has(register));
      if (free === undefined) spilled.add(node);
      else colours.set(node, free);
    }
    for (const [merged] of this.#alias) {
      const kept = this.#resolve(merged);
      const colour = colourOf(kept);
      if (colour !== undefined) colours.set(merged, colour);
      else if (spilled.has(kept)) spilled.add(merged);
    }
    return { colours, spilled };
  }
}

/** Scratch registers first: each of r6-r9 that a program uses costs the JIT a push and a pop. */
const FREE_ORDER = [1, 2, 3, 4, 5, 0, 6, 7, 8, 9];
