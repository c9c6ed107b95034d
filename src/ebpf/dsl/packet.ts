import type { Struct, Type } from '../btf/type.ts';
import { DslError } from '../errors.ts';
import type { Block as IrBlock } from '../ir/ir.ts';
import { CallSite } from '../source-location.ts';
import { helpers } from '../uapi/helpers.gen.ts';
import type { BuilderCore } from './blocks.ts';
import { CONNTRACK_LOOKUP, isTracked } from './conntrack.ts';
import type { ContextValue, HelperName } from './helper-arguments.ts';
import type { BranchState, Emitter, Test } from './emitter.ts';
import { Int } from './int.ts';
import { Maybe } from './maybe.ts';
import { addressRegister } from './memory.ts';
import { type Socket, withTcpSocket } from './socket.ts';
import { memoryOf, type View, viewOf } from './view.ts';

/** Where the cursor stands: at `offset` bytes behind the register `base`. A new generation begins with each resize. */
interface CursorState {
  readonly base: number;
  readonly offset: number;
  readonly end: number;
  readonly generation: number;
  /** While looking ahead: where the cursor goes back to. */
  readonly back: CursorState | undefined;
}

/** The frame being judged, with a cursor that `take` and `skip` move. Every access is checked against the frame's end. */
export class Packet<R> implements ContextValue, BranchState {
  readonly #context: number;
  readonly #core: BuilderCore<R>;
  readonly #owner: Emitter;
  #state: CursorState;
  #generations = 0;

  constructor(core: BuilderCore<R>, context: number) {
    this.#context = context;
    this.#core = core;
    this.#owner = core.emitter;
    this.#state = this.#loaded(undefined);
    core.emitter.states.push(this);
  }

  get #emitter(): Emitter {
    this.#checkActive();
    return this.#owner;
  }

  /** The register of the context that its function was called with. @throws DslError in another function. */
  get context(): number {
    this.#checkActive();
    return this.#context;
  }

  #checkActive(): void {
    this.#owner.checkActive('packet', "a globalFunc can take it, as parameter 'packet'");
  }

  /** The header at the cursor, if the frame is long enough; the cursor moves behind it. */
  take<F extends Readonly<Record<string, Type>>>(type: Struct<F>): Maybe<View<F>, R> {
    const { base, offset, generation } = this.#state;
    return new Maybe(
      this.#core,
      this.#fits(base, offset + type.size),
      () => {
        this.#checkGeneration(generation, type.name);
        this.#state = { ...this.#state, base, offset: offset + type.size };
        return this.#view(type, base, offset);
      },
      `the ${type.name} header`,
    );
  }

  /** The header at the cursor without moving it. */
  peek<F extends Readonly<Record<string, Type>>>(type: Struct<F>): Maybe<View<F>, R> {
    const { base, offset, generation } = this.#state;
    const make = (): View<F> => {
      this.#checkGeneration(generation, type.name);
      return this.#view(type, base, offset);
    };
    return new Maybe(this.#core, this.#fits(base, offset + type.size), make, `the ${type.name} header`);
  }

  /**
   * Moves the cursor on by a number of bytes that the packet itself tells, which must not be above `max` (at most 65535). The
   * bytes need not be there: the next `take` checks.
   */
  skip(amount: Int<8> | Int<16> | Int<32> | number, { max }: { readonly max: number }): Maybe<void, R> {
    const { base, offset, generation } = this.#state;
    if (max > 0xffff)
      throw new DslError(`skip: max ${String(max)} is more than a packet can hold`, new CallSite().location);
    if (typeof amount === 'number') {
      const test: Test = { kind: 'constant', value: amount <= max };
      return new Maybe(this.#core, test, () => this.#moveTo(base, offset + amount), 'the outcome of skip');
    }
    const wide = (amount as Int).u64();
    return new Maybe(
      this.#core,
      wide.le(max).consume(),
      () => {
        this.#checkGeneration(generation, 'skip');
        const moved = this.#emitter.vreg();
        this.#emitter.emit({ op: 'alu', alu: 'add', width: 64, dst: moved, a: base, b: wide.operand(), note: 'skip' });
        this.#moveTo(moved, offset);
      },
      'the outcome of skip',
    );
  }

  /** Puts the cursor back to the start of the frame. */
  restart(): void {
    this.#state = this.#loaded(this.#state.back, this.#state.generation);
  }

  /** Runs `body`, which may move the cursor, and puts the cursor back to where it was. */
  ahead(body: () => void): void {
    const before = this.#state;
    this.#state = { ...before, back: before };
    body();
    this.#goBack(before);
  }

  /** Bytes from the start of the frame to the cursor. */
  position(): Int<32> {
    const { base, offset } = this.#state;
    const emitter = this.#emitter;
    const [start, dst] = [emitter.vreg(), emitter.vreg()];
    emitter.emit({
      op: 'load',
      size: 4,
      dst: start,
      from: { base: this.context, offset: emitter.context.layout.data },
      note: 'data',
    });
    emitter.emit({ op: 'alu', alu: 'sub', width: 64, dst, a: base, b: start, note: 'position' });
    return new Int(emitter, 64, dst).add(offset).u32();
  }

  /**
   * Bytes from the cursor to the end of the frame. Behind a `skip` past the end the number is negative, so it wraps to a huge one: `take` what must
   * be there first.
   */
  remaining(): Int<64> {
    const { base, offset, end } = this.#state;
    const emitter = this.#emitter;
    const dst = emitter.vreg();
    emitter.emit({ op: 'alu', alu: 'sub', width: 64, dst, a: end, b: base, note: 'bytes remaining' });
    return new Int(emitter, 64, dst).sub(offset);
  }

  /** Number of the interface that the frame came in by. */
  ingressInterface(): Int<32> {
    return this.metadata(this.#emitter.context.layout.ingressIfindex, 'ingress_ifindex');
  }

  /**
   * Looks up the TCP socket of a tuple (`struct bpf_sock_tuple`: addresses and ports of the sender first, network order) in the
   * packet's network namespace. `some` cannot leave the program: its reference is dropped where it ends. Linux 5.2.
   */
  tcpSocket(tuple: object, size: number, some: (socket: Socket<R>) => void): void {
    withTcpSocket(this.#core, this, addressRegister(memoryOf(tuple)), size, some);
  }

  /**
   * 1 where the connection tracking of the packet's network namespace has an entry for a tuple (as of `tcpSocket`) of this protocol, in
   * either direction and the default zone. Linux 6.0.
   */
  isTracked(tuple: object, size: number, protocol: number): Int<32> {
    const { type } = this.#emitter.context.layout;
    return isTracked(this.#core, this, CONNTRACK_LOOKUP[type], addressRegister(memoryOf(tuple)), size, protocol);
  }

  voided(): void {
    this.#state = this.#loaded(this.#state.back);
  }

  save(): CursorState {
    return this.#state;
  }

  restore(state: CursorState): void {
    this.#state = state;
  }

  leave(at: CursorState): void {
    while (this.#state.back && this.#state.back !== at.back) this.#goBack(this.#state.back);
  }

  merge(ends: readonly { readonly block: IrBlock; readonly state: CursorState }[]): void {
    const [first, ...rest] = ends.map((end) => end.state);
    if (!first || rest.every((state) => sameCursor(state, first))) {
      if (first) this.#state = first;
      return;
    }
    const emitter = this.#emitter;
    const [base, end] = [emitter.vreg(), emitter.vreg()];
    for (const { block, state } of ends) {
      emitter.emitInto(block, { op: 'alu', alu: 'add', width: 64, dst: base, a: state.base, b: BigInt(state.offset) });
      emitter.emitInto(block, { op: 'mov', dst: end, src: state.end });
    }
    const generation = rest.every((state) => state.generation === first.generation)
      ? first.generation
      : ++this.#generations;
    this.#state = { base, offset: 0, end, generation, back: first.back };
  }

  enterLoop(): () => void {
    const emitter = this.#emitter;
    const base = emitter.vreg();
    const before = this.#state;
    const { generation, end, back } = before;
    const settle = (): void => {
      this.leave(before);
      if (this.#state.generation !== generation) {
        throw new DslError(
          'resize packet: not inside a loop, whose next round would use the old bounds',
          new CallSite().location,
        );
      }
      const { base: from, offset } = this.#state;
      emitter.emit({ op: 'alu', alu: 'add', width: 64, dst: base, a: from, b: BigInt(offset) });
      this.#state = { base, offset: 0, end, generation, back };
    };
    settle();
    return settle;
  }

  #moveTo(base: number, offset: number): void {
    this.#state = { ...this.#state, base, offset };
  }

  /** Ends looking ahead. */
  #goBack(to: CursorState): void {
    if (this.#state.generation !== to.generation) {
      throw new DslError('resize packet: not while looking ahead, whose cursor would be void', new CallSite().location);
    }
    this.#state = to;
  }

  #loaded(back: CursorState | undefined, generation = ++this.#generations): CursorState {
    const [base, end] = [this.#emitter.vreg(), this.#emitter.vreg()];
    this.#emitter.emit({
      op: 'load',
      size: 4,
      dst: base,
      from: { base: this.context, offset: this.#emitter.context.layout.data },
      note: 'data',
    });
    this.#emitter.emit({
      op: 'load',
      size: 4,
      dst: end,
      from: { base: this.context, offset: this.#emitter.context.layout.dataEnd },
      note: 'data_end',
    });
    return { base, offset: 0, end, generation, back };
  }

  protected metadata(offset: number, note: string): Int<32> {
    const dst = this.#emitter.vreg();
    this.#emitter.emit({ op: 'load', size: 4, dst, from: { base: this.context, offset }, note });
    return new Int(this.#emitter, 32, dst);
  }

  /** Whether the frame reaches `bytes` behind `base`. */
  #fits(base: number, bytes: number): Test {
    const emitter = this.#emitter;
    const limit = emitter.vreg();
    emitter.emit({ op: 'alu', alu: 'add', width: 64, dst: limit, a: base, b: BigInt(bytes) });
    return { kind: 'compare', compare: 'le', width: 64, a: limit, b: this.#state.end };
  }

  #view<F extends Readonly<Record<string, Type>>>(type: Struct<F>, base: number, offset: number): View<F> {
    const { generation } = this.#state;
    const { scope } = this.#emitter;
    const check = (): void => {
      this.#emitter.checkUsable(scope);
      this.#checkGeneration(generation, type.name);
    };
    return viewOf({ emitter: this.#emitter, address: { base, offset }, name: type.name, check }, type);
  }

  /** @throws DslError where the packet was resized since `generation`. */
  #checkGeneration(generation: number, what: string): void {
    if (generation === this.#state.generation) return;
    throw new DslError(`use ${what}: the packet was resized since; take the header again`, new CallSite().location);
  }

  /** Calls a helper that changes where the packet lies: 0 where it did. */
  protected resize(helper: HelperName, amount: Int<32> | number, name: string): Maybe<void, R> {
    const emitter = this.#emitter;
    const dst = emitter.vreg();
    const operand = typeof amount === 'number' ? BigInt(amount) : amount.operandIn(emitter);
    emitter.emit({ op: 'call', helper: helpers[helper].id, args: [this.context, operand], dst, note: name });
    emitter.voidPackets();
    const test: Test = { kind: 'compare', compare: 'eq', width: 64, a: dst, b: 0n };
    return new Maybe(this.#core, test, () => {}, `the outcome of ${name}`);
  }
}

function sameCursor(a: CursorState, b: CursorState): boolean {
  return a.base === b.base && a.offset === b.offset && a.end === b.end && a.generation === b.generation;
}
