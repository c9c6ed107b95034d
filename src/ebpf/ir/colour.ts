/** The colouring half of register allocation: simplify, coalesce, freeze, select, as in the paper that allocate.ts names. */
import { FIRST_VREG } from './ir.ts';

/** r0-r9 are the colours. */
const REGISTERS = 10;

/** What interferes with what, which copies could vanish, and what each register would cost in memory. */
export interface InterferenceGraph {
  /** Pairs, one after the other. */
  readonly edges: readonly number[];
  readonly moves: readonly (readonly [number, number])[];
  /** How many nodes there are, those of the physical registers (0 to FIRST_VREG - 1) included. */
  readonly size: number;
  /** By node. */
  readonly spillCost: readonly number[];
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
  readonly #size: number;
  /** A bit for each pair of nodes that interfere, both ways. */
  readonly #matrix: Uint32Array;
  /** Neighbours of the virtual nodes; physical ones have everyone, so they keep no list. */
  readonly #neighbours: number[][] = [];
  /** How many neighbours a virtual node has that were not set aside. */
  readonly #degree: Int32Array;
  readonly #removed: Uint8Array;
  /** Copies to be looked at, in order, from `nextWaiting` on. */
  readonly #waiting: Move[] = [];
  #nextWaiting = 0;
  readonly #movesOf: Move[][] = [];
  readonly #alias = new Map<number, number>();
  readonly #stack: number[] = [];
  readonly #remaining: Set<number>;
  /** Light nodes (fewer neighbours than there are registers) without copies to merge: sure to find a colour. */
  readonly #simple = new Set<number>();
  /** Light nodes that wait for their copies to be merged. */
  readonly #movable = new Set<number>();
  /** What spilling a node costs that others were merged into. */
  readonly #cost = new Map<number, number>();

  constructor(graph: InterferenceGraph) {
    this.#graph = graph;
    const { size } = graph;
    this.#size = size;
    const nodes = Array.from({ length: size - FIRST_VREG }, (_, index) => FIRST_VREG + index);
    this.#remaining = new Set(nodes);
    this.#matrix = new Uint32Array(Math.ceil((size * size) / 32));
    this.#degree = new Int32Array(size);
    this.#removed = new Uint8Array(size);
    for (let node = 0; node < size; node++) {
      this.#neighbours.push([]);
      this.#movesOf.push([]);
    }
    for (let at = 0; at < graph.edges.length; at += 2) this.#addEdge(graph.edges[at]!, graph.edges[at + 1]!);
    for (const [dst, src] of graph.moves) {
      const move: Move = { dst, src, state: 'waiting' };
      this.#waiting.push(move);
      this.#movesOf[dst]!.push(move);
      this.#movesOf[src]!.push(move);
    }
    for (const node of nodes) this.#sort(node);
  }

  run(): Colouring {
    while (this.#remaining.size > 0) {
      const [simple] = this.#simple;
      if (simple !== undefined) {
        this.#push(simple);
        continue;
      }
      const move = this.#nextMove();
      if (move) {
        this.#coalesce(move);
        continue;
      }
      const [movable] = this.#movable;
      if (movable === undefined) this.#push(this.#cheapest());
      else this.#freeze(movable);
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
    const bit = a * this.#size + b;
    return (this.#matrix[bit >>> 5]! & (1 << (bit & 31))) !== 0;
  }

  #addEdge(a: number, b: number): void {
    if (a === b || this.#interferes(a, b)) return;
    this.#addNeighbour(a, b);
    this.#addNeighbour(b, a);
  }

  #addNeighbour(node: number, other: number): void {
    const bit = node * this.#size + other;
    this.#matrix[bit >>> 5]! |= 1 << (bit & 31);
    if (isPhysical(node)) return;
    this.#neighbours[node]!.push(other);
    const degree = ++this.#degree[node]!;
    if (degree === REGISTERS) this.#sort(node);
  }

  #degreeOf(node: number): number {
    return isPhysical(node) ? Infinity : this.#degree[node]!;
  }

  /** Puts a node into the list that it belongs to now. */
  #sort(node: number): void {
    if (isPhysical(node)) return;
    this.#simple.delete(node);
    this.#movable.delete(node);
    if (this.#removed[node] || this.#degree[node]! >= REGISTERS) return;
    const waits = this.#movesOf[node]!.some((move) => move.state !== 'done');
    (waits ? this.#movable : this.#simple).add(node);
  }

  /** Nothing more is to be done about a copy. */
  #finish(move: Move): void {
    if (move.state === 'done') return;
    move.state = 'done';
    this.#sort(this.#resolve(move.dst));
    this.#sort(this.#resolve(move.src));
  }

  #push(node: number): void {
    this.#stack.push(node);
    this.#takeOut(node);
    for (const move of this.#movesOf[node]!) this.#finish(move);
  }

  #takeOut(node: number): void {
    this.#remaining.delete(node);
    this.#removed[node] = 1;
    this.#sort(node);
    for (const other of this.#neighbours[node]!) {
      if (isPhysical(other) || this.#removed[other]) continue;
      const degree = --this.#degree[other]!;
      if (degree !== REGISTERS - 1) continue;
      this.#enableMoves(other);
      for (const next of this.#neighbours[other]!) if (!this.#removed[next]) this.#enableMoves(next);
      this.#sort(other);
    }
  }

  /** Copies that were put off may be safe to merge now that a neighbour's degree fell. */
  #enableMoves(node: number): void {
    for (const move of this.#movesOf[node]!) {
      if (move.state !== 'active') continue;
      move.state = 'waiting';
      this.#waiting.push(move);
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
    const never =
      kept === merged ||
      isPhysical(merged) ||
      this.#removed[merged] ||
      this.#removed[kept] ||
      this.#interferes(kept, merged);
    if (never) {
      this.#finish(move);
    } else if (isPhysical(kept) ? this.#safeForPhysical(kept, merged) : this.#safe(kept, merged)) {
      move.state = 'done';
      this.#merge(kept, merged);
    } else {
      move.state = 'active';
    }
  }

  /** George's test: each neighbour of the merged node already interferes, or is sure to find a colour. */
  #safeForPhysical(kept: number, merged: number): boolean {
    return this.#neighbours[merged]!.every(
      (other) =>
        this.#removed[other] || isPhysical(other) || this.#degree[other]! < REGISTERS || this.#interferes(other, kept),
    );
  }

  /** Briggs's test: the merged node would have fewer than all colours among its heavy neighbours. */
  #safe(kept: number, merged: number): boolean {
    let heavy = 0;
    for (const other of this.#neighbours[kept]!) {
      if (this.#removed[other]) continue;
      const shared = !isPhysical(other) && this.#interferes(other, merged);
      if (this.#degreeOf(other) - (shared ? 1 : 0) >= REGISTERS && ++heavy === REGISTERS) return false;
    }
    for (const other of this.#neighbours[merged]!) {
      if (this.#removed[other] || this.#interferes(other, kept)) continue;
      if (this.#degreeOf(other) >= REGISTERS && ++heavy === REGISTERS) return false;
    }
    return true;
  }

  #merge(kept: number, merged: number): void {
    this.#alias.set(merged, kept);
    this.#cost.set(kept, this.#costOf(kept) + this.#costOf(merged));
    for (const move of this.#movesOf[merged]!) if (move.state !== 'done') this.#movesOf[kept]!.push(move);
    for (const other of this.#neighbours[merged]!) if (!this.#removed[other]) this.#addEdge(other, kept);
    this.#takeOut(merged);
    this.#sort(kept);
  }

  /** Gives up merging the copies of one light node, so that it can be set aside. */
  #freeze(node: number): void {
    for (const move of this.#movesOf[node]!) this.#finish(move);
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
    return this.#cost.get(node) ?? this.#graph.spillCost[node] ?? 0;
  }

  #select(): Colouring {
    const colours = new Map<number, number>();
    const spilled = new Set<number>();
    const colourOf = (node: number): number | undefined => (isPhysical(node) ? node : colours.get(node));
    for (const node of this.#stack.toReversed()) {
      let taken = 0;
      for (const other of this.#neighbours[node]!) {
        const colour = colourOf(this.#resolve(other));
        if (colour !== undefined) taken |= 1 << colour;
      }
      const free = FREE_ORDER.find((register) => (taken & (1 << register)) === 0);
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
