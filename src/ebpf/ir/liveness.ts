/** A node of a control-flow graph, as liveness sees it: the registers that it reads before writing them, and those that it writes. */
export interface LivenessNode {
  readonly id: number;
  readonly uses: readonly number[];
  readonly defs: readonly number[];
  readonly successors: readonly number[];
}

/** Sums up what blocks read and write, one block after the other: what each does, in order, between `begin` and `end`. */
export class Summary {
  /** The block that used or wrote a register last, by register. */
  readonly #used: Int32Array;
  readonly #written: Int32Array;
  #block = 0;
  #uses: number[] = [];
  #defs: number[] = [];

  constructor(registers: number) {
    this.#used = new Int32Array(registers);
    this.#written = new Int32Array(registers);
  }

  begin(): void {
    this.#block++;
    this.#uses = [];
    this.#defs = [];
  }

  readonly use = (register: number): void => {
    if (this.#written[register] === this.#block || this.#used[register] === this.#block) return;
    this.#used[register] = this.#block;
    this.#uses.push(register);
  };

  readonly def = (register: number): void => {
    if (this.#written[register] === this.#block) return;
    this.#written[register] = this.#block;
    this.#defs.push(register);
  };

  end(): Pick<LivenessNode, 'uses' | 'defs'> {
    return { uses: this.#uses, defs: this.#defs };
  }
}

/** The registers live at the end of each block, by block number: backward data flow over bit sets until nothing changes. */
export function liveOut(nodes: readonly LivenessNode[]): Map<number, number[]> {
  // Only what some block reads before writing can be alive between blocks; those registers are numbered anew.
  const distinct = new Set<number>();
  for (const { uses } of nodes) for (const register of uses) distinct.add(register);
  const registers = [...distinct];
  const numbers = new Map(registers.map((register, number) => [register, number]));
  const words = Math.ceil(registers.length / 32);
  const bitsOf = (wanted: readonly number[]): Uint32Array => {
    const bits = new Uint32Array(words);
    for (const register of wanted) {
      const number = numbers.get(register);
      if (number !== undefined) bits[number >>> 5]! |= 1 << (number & 31);
    }
    return bits;
  };
  const backward = nodes.toReversed().map(({ id, uses, defs, successors }) => ({
    id,
    successors,
    liveIn: bitsOf(uses),
    defs: bitsOf(defs),
    liveOut: new Uint32Array(words),
  }));
  const byId = new Map(backward.map((state) => [state.id, state]));
  for (let changed = true; changed;) {
    changed = false;
    for (const state of backward) {
      for (const id of state.successors) {
        const next = byId.get(id)!.liveIn;
        for (let word = 0; word < words; word++) {
          const added = next[word]! & ~state.liveOut[word]!;
          if (added === 0) continue;
          changed = true;
          state.liveOut[word]! |= added;
          state.liveIn[word]! |= added & ~state.defs[word]!;
        }
      }
    }
  }
  return new Map(
    backward.map((state) => {
      const alive: number[] = [];
      state.liveOut.forEach((bits, word) => {
        for (let left = bits; left !== 0; left &= left - 1)
          alive.push(registers[word * 32 + 31 - Math.clz32(left & -left)]!);
      });
      return [state.id, alive];
    }),
  );
}
