import { DslError } from '../errors.ts';
import type { Block as IrBlock, Operand } from '../ir/ir.ts';
import { CallSite } from '../source-location.ts';
import type { Emitter } from './emitter.ts';
import { Int, Network } from './int.ts';

/** The end of one path: its values, and the states at that place. */
interface End {
  readonly block: IrBlock;
  readonly values: readonly (Int | Network)[];
  readonly operands: readonly Operand[];
  readonly states: readonly unknown[];
}

/** Where paths meet. Each brings as many values, of the same kinds; from there on they are one value each. */
export class Join {
  readonly #emitter: Emitter;
  readonly #block: IrBlock;
  readonly #reachable: boolean;
  /** The states where the paths parted: what looks ahead in between ends with the path. */
  readonly #parted: readonly unknown[];
  readonly #ends: End[] = [];
  #closed = false;

  constructor(emitter: Emitter) {
    this.#emitter = emitter;
    this.#block = emitter.block();
    this.#reachable = emitter.reachable;
    this.#parted = emitter.states.map((state) => state.save());
  }

  /** Whether any path comes here so far. */
  get reached(): boolean {
    return this.#ends.length > 0;
  }

  /** Ends the current path here, if there is one; operations emitted next are dropped. */
  arrive(values: readonly (Int | Network)[]): void {
    const emitter = this.#emitter;
    if (this.#closed) {
      throw new DslError('leave block: the inline that it belongs to has ended', new CallSite().location);
    }
    if (!emitter.reachable) return;
    const operands = values.map((value) => value.operandIn(emitter));
    emitter.states.forEach((state, index) => {
      state.leave(this.#parted[index]);
    });
    const states = emitter.states.map((state) => state.save());
    this.#ends.push({ block: emitter.current, values, operands, states });
    emitter.jump(this.#block);
    emitter.place(emitter.block(), false);
  }

  /** Goes on from here with what the paths brought. Nothing, where no path came. */
  close(): (Int | Network)[] {
    const emitter = this.#emitter;
    const ends = this.#ends;
    this.#closed = true;
    const joined = (ends[0]?.values ?? []).map((_value, index) => this.#joined(index));
    emitter.place(this.#block, this.#reachable && ends.length > 0);
    emitter.states.forEach((state, index) => {
      if (ends.length === 0) state.restore(this.#parted[index]);
      else state.merge(ends.map(({ block, states }) => ({ block, state: states[index] })));
    });
    return joined.map((make) => make());
  }

  /** The values at `index` of all ends as one: the operand that they agree on, or a register that each of them writes. */
  #joined(index: number): () => Int | Network {
    const emitter = this.#emitter;
    const ends = this.#ends;
    const [first, ...rest] = ends.map(({ values }) => values[index]!);
    const operands = ends.map((end) => end.operands[index]!);
    const other = rest.find((value) => value.width !== first!.width || isNetwork(value) !== isNetwork(first!));
    if (other) {
      throw new DslError(
        `join values: one path brings ${nameOf(first!)} and another ${nameOf(other)}`,
        new CallSite().location,
      );
    }
    let operand = operands[0]!;
    if (operands.some((given) => given !== operand)) {
      operand = emitter.vreg();
      for (const { block, operands: given } of ends) {
        emitter.emitInto(block, { op: 'mov', dst: operand, src: given[index]!, site: block.end!.site });
      }
    }
    const max = [first!, ...rest].reduce((most, value) => (value.max > most ? value.max : most), 0n);
    return () =>
      isNetwork(first!)
        ? new Network(emitter, first.width, operand, max)
        : new Int(emitter, first!.width, operand, max);
  }
}

const isNetwork = (value: Int | Network): value is Network => value instanceof Network;
const nameOf = (value: Int | Network): string => `${isNetwork(value) ? 'be' : 'u'}${String(value.width)}`;
