/** A node of a control-flow graph, as far as liveness is concerned: what it reads before writing, and what it writes. */
export interface LivenessNode {
  readonly id: number;
  readonly uses: ReadonlySet<number>;
  readonly defs: ReadonlySet<number>;
  readonly successors: readonly number[];
}

/** The registers live at the end of each block, by block number: backward data flow over bit sets until nothing changes. */
export function liveOut(nodes: readonly LivenessNode[]): Map<number, Set<number>> {
  // Only what some block reads before writing can be alive between blocks; those registers are numbered anew.
  const registers = [...new Set(nodes.flatMap(({ uses }) => [...uses]))];
  const numbers = new Map(registers.map((register, number) => [register, number]));
  const words = Math.ceil(registers.length / 32);
  const bitsOf = (wanted: Iterable<number>): Uint32Array => {
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
    backward.map((state) => [
      state.id,
      new Set(registers.filter((_, number) => (state.liveOut[number >>> 5]! & (1 << (number & 31))) !== 0)),
    ]),
  );
}
