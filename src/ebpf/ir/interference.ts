/** What building an interference graph works with: both are asked millions of times, so they live in plain numbers. */

/** Stands where no number does. */
export const NOBODY = -1;

/** Numbers below `size`, in the order they came; the order decides which copies the allocator merges first. */
export class OrderedSet {
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #member: Uint8Array;
  #first = NOBODY;
  #last = NOBODY;

  constructor(size: number) {
    this.#next = new Int32Array(size);
    this.#previous = new Int32Array(size);
    this.#member = new Uint8Array(size);
  }

  /** NOBODY where it is empty. */
  get first(): number {
    return this.#first;
  }

  /** NOBODY after the last. */
  after(number: number): number {
    return this.#next[number]!;
  }

  add(number: number): void {
    if (this.#member[number]) return;
    this.#member[number] = 1;
    this.#next[number] = NOBODY;
    this.#previous[number] = this.#last;
    if (this.#last === NOBODY) this.#first = number;
    else this.#next[this.#last] = number;
    this.#last = number;
  }

  delete(number: number): void {
    if (!this.#member[number]) return;
    this.#member[number] = 0;
    const [previous, next] = [this.#previous[number]!, this.#next[number]!];
    if (previous === NOBODY) this.#first = next;
    else this.#next[previous] = next;
    if (next === NOBODY) this.#last = previous;
    else this.#previous[next] = previous;
  }

  clear(): void {
    for (let number = this.#first; number !== NOBODY; number = this.#next[number]!) this.#member[number] = 0;
    this.#first = NOBODY;
    this.#last = NOBODY;
  }
}

/** Pairs of different numbers below `size`, each kept once, one after the other. */
export class EdgeList {
  readonly pairs: number[] = [];
  readonly #size: number;
  readonly #known: Uint32Array;

  constructor(size: number) {
    this.#size = size;
    this.#known = new Uint32Array(Math.ceil((size * size) / 32));
  }

  add(a: number, b: number): void {
    if (a === b) return;
    const bit = a < b ? a * this.#size + b : b * this.#size + a;
    const mask = 1 << (bit & 31);
    if ((this.#known[bit >>> 5]! & mask) !== 0) return;
    this.#known[bit >>> 5]! |= mask;
    this.pairs.push(a, b);
  }
}
