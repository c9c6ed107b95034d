/** The builder of programs. Over 300 lines because its methods are the language: one short method a construct. */
import type { Struct, Type } from '../btf/type.ts';
import { DslError } from '../errors.ts';
import { CallSite } from '../source-location.ts';
import type { TcVerdict, XdpAction, XdpVerdict } from './action.ts';
import type { Block, BuilderCore } from './blocks.ts';
import type { Callable } from './callable.ts';
import type { AnyView, LoopStep } from './callback.ts';
import { Condition } from './condition.ts';
import type { Emitter } from './emitter.ts';
import { emitForEach, type Entry } from './for-each.ts';
import type { ContextValue, HelperArguments, HelperName } from './helper-arguments.ts';
import { emitInline, type Given, type Shape, type Shaped } from './inline.ts';
import { emitLoop, type LoopControl } from './loop.ts';
import { UpdateFlag } from './update-flag.ts';
import { emitCancelTimer, emitRestartTimer, emitStartTimer } from './timer.ts';
import { emitLocked } from './lock.ts';
import type { Network } from './int.ts';
import { copied, Int, IntVariable, type NetworkWidth, NetworkVariable, UNKNOWN, type Width } from './int.ts';
import type { Kind, ValueOf } from './kind.ts';
import type { Found } from './found.ts';
import { emitCall, emitKernelCall, emitTailCall, type KernelArgument } from './helper-call.ts';
import { deleteFrom, lookUp, placeOf, updateMap } from './map-access.ts';
import { type KindsFor, requireKind } from './map-kind.ts';
import type { NotFound } from './map-of-maps.ts';
import type { MapValue } from './map-value.ts';
import type { MapSpec, RingSpec } from './map.ts';
import type { Maybe } from './maybe.ts';
import { emitRecord } from './record.ts';
import { emitStack } from './stack.ts';
import type { ElementOf, View, ViewWith } from './view.ts';
import { type Alike, type Choosable, type Chosen, emitWhen } from './when.ts';
import { EnumMember, EnumValue, EnumVariable } from './enum.ts';
import { Exited } from './exited.ts';
import { emitRedirect, type RedirectTarget } from './redirect.ts';
import { emitRepeat } from './repeat.ts';

type RoundBody = (inner: Builder<LoopStep>, round: Int<32>, state: AnyView) => LoopStep | Exited | void;
type EntryBody<K extends Type, V extends Type> = (
  inner: Builder<LoopStep>,
  entry: Entry<K, V>,
  state: AnyView,
) => LoopStep | Exited | void;

/**
 * The language of programs. Every call emits its instructions at once, so reading order is running order. A block may leave the program with an `R`.
 */
export class Builder<R> {
  readonly #core: BuilderCore<R>;
  readonly #emitter: Emitter;

  constructor(core: BuilderCore<R>) {
    this.#core = core;
    this.#emitter = core.emitter;
  }

  /** A constant where a value is needed. */
  u8(value: number): Int<8> {
    return this.#constant(8, value);
  }
  u16(value: number): Int<16> {
    return this.#constant(16, value);
  }
  u32(value: number): Int<32> {
    return this.#constant(32, value);
  }
  u64(value: number | bigint): Int<64> {
    return this.#constant(64, value);
  }

  /** Conditions that are known while building. */
  get true(): Condition {
    return new Condition(this.#emitter, { kind: 'constant', value: true }, true);
  }
  get false(): Condition {
    return new Condition(this.#emitter, { kind: 'constant', value: false }, true);
  }

  /** A variable that begins with `value`; `set` changes it. */
  let<W extends Width>(value: Int<W>): IntVariable<W>;
  let<W extends NetworkWidth>(value: Network<W>): NetworkVariable<W>;
  let<N extends string>(value: EnumValue<N> | EnumMember<N>): EnumVariable<N>;
  let(value: Int | Network | EnumValue | EnumMember): Int | Network | EnumValue {
    if (value instanceof EnumMember) return new EnumVariable(value.enum, this.let(this.u32(value.number)));
    if (value instanceof EnumValue) return new EnumVariable(value.enum, this.let(value.u32()));
    const register = copied(this.#emitter, value.operandIn(this.#emitter));
    return value instanceof Int
      ? new IntVariable(this.#emitter, value.width, register, UNKNOWN)
      : new NetworkVariable(this.#emitter, value.width, register, UNKNOWN);
  }

  /**
   * Decides in the kernel. A block that returns a verdict leaves the program with it; where both do, the `$.if` itself can be
   * returned.
   */
  if(condition: Condition, then: Block<R | Exited>, otherwise: Block<R | Exited>): Exited;
  if(condition: Condition, then: Block<R | Exited | void>, otherwise?: Block<R | Exited | void>): void;
  if(condition: Condition, then: Block<R | Exited | void>, otherwise?: Block<R | Exited | void>): Exited | void {
    return this.#core.either(condition.consume(this.#emitter), then, otherwise);
  }

  /**
   * One of two values: a number, a value of an enum, or a record of such. Only the block that is chosen runs; one that is known while building is
   * all that is emitted. A block may leave instead.
   */
  when<T extends Choosable>(
    condition: Condition,
    then: () => T | Exited,
    otherwise: () => NoInfer<Alike<T>> | Exited,
  ): Chosen<T> {
    return emitWhen(this.#core, condition.consume(this.#emitter), then, otherwise) as Chosen<T>;
  }

  /** One of two values; both are computed. */
  select<W extends Width>(condition: Condition, whenTrue: Int<W>, whenFalse: NoInfer<Int<W>>): Int<W> {
    const test = condition.consume(this.#emitter);
    if (test.kind === 'constant') return (test.value ? whenTrue : whenFalse).add(0);
    const result = this.let(whenFalse);
    const set = (): void => {
      result.set(whenTrue);
    };
    this.#emitter.onLine(() => this.#core.either(test, set, undefined));
    return new Int(
      this.#emitter,
      whenFalse.width,
      result.operand(),
      whenTrue.max > whenFalse.max ? whenTrue.max : whenFalse.max,
    );
  }

  /**
   * A macro that returns early in the kernel: the value that a block of the inner builder returns is its result, as a block of a program returns the
   * verdict. `shape` is the result's width or enum, or a record of such. Blocks of other builders leave the inline with `inner.leave(value)`; blocks
   * of the builder around it leave the program as elsewhere.
   */
  inline<const S extends Shape>(
    shape: S,
    body: (inner: Builder<Given<NoInfer<S>>>) => Given<NoInfer<S>> | Exited,
  ): Shaped<S> {
    return emitInline(this.#emitter, shape, (core) => body(new Builder(core)));
  }

  /** Leaves with a value from the block of another builder, as a block of this one does by returning it. */
  leave(value: R): Exited {
    this.#core.finish(value);
    return new Exited();
  }

  /** Runs `body` in the kernel `times` times, a number known while building, with the round's number from 0. */
  loop(times: number, body: (round: Int<32>, loop: LoopControl) => R | Exited | void): void {
    emitLoop(this.#core, this.let(this.u32(0)), times, body);
  }

  /**
   * Runs `body` in the kernel `count` times, a number of the kernel or a constant, at most 8,388,608 (`bpf_loop`). The body is a function of its own,
   * which the verifier walks once for any number of rounds. It has a builder of its own, the round's number from 0, and `state`, memory of the frame
   * that it shares with the code around it, and can use nothing else from there. A value that its blocks return ends the round. The result is the
   * number of rounds that began; -E2BIG, and none, where `count` is beyond the limit. Linux 5.17.
   */
  repeat(
    count: Int<32> | number,
    body: (inner: Builder<LoopStep>, round: Int<32>) => LoopStep | Exited | void,
  ): Int<64>;
  repeat<S extends AnyView>(
    count: Int<32> | number,
    state: S,
    body: (inner: Builder<LoopStep>, round: Int<32>, state: S) => LoopStep | Exited | void,
  ): Int<64>;
  repeat(count: Int<32> | number, ...rest: readonly [RoundBody] | readonly [AnyView, RoundBody]): Int<64> {
    const [state, body] = rest.length === 1 ? [undefined, rest[0]] : rest;
    return emitRepeat(this.#emitter, count, state, (core, round, shared) => body(new Builder(core), round, shared!));
  }

  /**
   * Runs `body` for each entry of a map, as a callback like that of `repeat`: with a copy of its key, and its value in the map (of per-CPU maps the
   * one of this CPU). The body may delete the entry of a hash; it may or may not see entries that others add or delete meanwhile. The result is the
   * number of visited entries. Linux 5.13.
   */
  forEach<K extends Type, V extends Type>(
    map: MapSpec<K, V, KindsFor<'walk'>>,
    body: (inner: Builder<LoopStep>, entry: Entry<K, V>) => LoopStep | Exited | void,
  ): Int<64>;
  forEach<K extends Type, V extends Type, S extends AnyView>(
    map: MapSpec<K, V, KindsFor<'walk'>>,
    state: S,
    body: (inner: Builder<LoopStep>, entry: Entry<K, V>, state: S) => LoopStep | Exited | void,
  ): Int<64>;
  forEach<K extends Type, V extends Type>(
    map: MapSpec<K, V, KindsFor<'walk'>>,
    ...rest: readonly [EntryBody<K, V>] | readonly [AnyView, EntryBody<K, V>]
  ): Int<64> {
    requireKind(map, 'walk');
    const [state, body] = rest.length === 1 ? [undefined, rest[0]] : rest;
    return emitForEach(this.#emitter, map, state, (core, entry, shared) => body(new Builder(core), entry, shared!));
  }

  /** The value in a map, if there is one; of a map of maps the map, which is then used as a spec is. */
  lookup<K extends Type, V extends Type>(
    map: MapSpec<K, V, KindsFor<'look up in'>>,
    key: ElementOf<K>,
  ): Maybe<Found<V>, R> {
    return lookUp(this.#core, map, key);
  }

  /** The only value of an array of one entry, without a look-up: its address is known when the program is loaded. */
  at<V extends Type>(map: MapSpec<Type, V, KindsFor<'take the place of'>> & NotFound, index: number): MapValue<V> {
    return placeOf(this.#emitter, map, index);
  }

  /** Writes a value to a map. The result is 0, or a negative errno (`UpdateFlag.NOEXIST`: -EEXIST when the key is there). */
  update<K extends Type, V extends Type>(
    map: MapSpec<K, V, KindsFor<'update'>>,
    key: ElementOf<K>,
    value: ElementOf<V>,
    flag: number = UpdateFlag.ANY,
  ): Int<64> {
    return updateMap(this.#emitter, map, key, value, flag);
  }

  /** Removes a key from a map. The result is 0, or a negative errno. */
  delete<K extends Type>(map: MapSpec<K, Type, KindsFor<'delete from'>>, key: ElementOf<K>): Int<64> {
    return deleteFrom(this.#emitter, map, key);
  }

  /**
   * Writes a record to a ring buffer: the block fills it, then it is handed over. What the block does not set is zero. Where there is
   * no room the block does not run, and the loss is counted.
   */
  record<F extends Readonly<Record<string, Type>>>(
    ring: RingSpec,
    type: Struct<F>,
    fill: (record: View<F>) => void,
  ): void {
    emitRecord(this.#core, ring, type, fill);
  }

  /**
   * Runs `body` with the lock of a map's value held (`bpf_spin_lock`), so that no other CPU is in such a block for the same value. While it is held nothing
   * can be called (no look-up, helper or function), no other lock be taken and nothing be left. Linux 5.1.
   */
  lock(value: ViewWith<'bpf_spin_lock'>, body: () => void): void {
    emitLocked(this.#emitter, value, body);
  }

  /**
   * Lets the kernel run `body` after so many nanoseconds, on any CPU, with the key and value that the timer lies in: a callback, which can use nothing of what is
   * around it, as in `forEach`; a block that returns 0 leaves it. `map` is the one that `value` was looked up in. A timer that runs begins anew, with this body. It ends unfired
   * where its value is deleted or replaced, and where no descriptor or pin of the map is left. The result is 0, or a negative errno. Linux 5.15.
   */
  startTimer<K extends Type, V extends Type>(
    map: MapSpec<K, V>,
    value: MapValue<V> & ViewWith<'bpf_timer'>,
    nanoseconds: Int<64> | number | bigint,
    body: (inner: Builder<0>, entry: Entry<K, V>) => 0 | Exited | void,
  ): Int<64> {
    return emitStartTimer<K, V>(this.#emitter, map, value, nanoseconds, (core, entry) =>
      body(new Builder(core), entry),
    );
  }

  /** Starts the timer of a value again with the body that it has: in that body, to run it at intervals. The result is 0, or a negative errno. */
  restartTimer(value: ViewWith<'bpf_timer'>, nanoseconds: Int<64> | number | bigint): Int<64> {
    return emitRestartTimer(this.#emitter, value, nanoseconds);
  }

  /** Stops the timer of a value. The result is 1 where it was running, 0 where not, or a negative errno (-EDEADLK in its own body). */
  cancelTimer(value: ViewWith<'bpf_timer'>): Int<64> {
    return emitCancelTimer(this.#emitter, value);
  }

  /** Memory in the frame, filled with zeros: to hand to helpers, or to build a value in. */
  stack<F extends Readonly<Record<string, Type>>>(type: Struct<F>): View<F> {
    return emitStack(this.#emitter, type);
  }

  /**
   * Calls a helper of the kernel by name. Pointers are views (of the frame, a map value, the packet); the result is what the
   * helper returns, a negative errno where it fails.
   */
  call<Name extends HelperName>(name: Name, ...args: HelperArguments<Name>): Int<64> {
    return emitCall(this.#emitter, name, args);
  }

  /**
   * Calls a function of the kernel by its name in the kernel's BTF; what it wants is looked up when the program is loaded, which
   * fails with UnsupportedError where the kernel has none of that name.
   */
  callKernel(name: string, ...args: readonly KernelArgument[]): Int<32> {
    return emitKernelCall(this.#emitter, name, args);
  }

  /** Calls a BPF function of this program. */
  invoke<A extends readonly unknown[], K extends Kind>(fn: Callable<A, K>, ...args: A): ValueOf<K> {
    return fn.call(this.#emitter, args);
  }

  /** Goes on with another program of a program array; comes back only where there is none at that index. */
  tailCall(
    programs: MapSpec<Type, Type, KindsFor<'tail call through'>>,
    context: ContextValue,
    index: Int<32> | number,
  ): void {
    emitTailCall(this.#emitter, programs, context, index);
  }

  /**
   * The verdict that sends a frame where a map says: out by an interface, or up the stack on another CPU. `otherwise` is the verdict where the map has
   * nothing under the key. A frame that does not reach what it is sent to is dropped; the tracepoint `xdp:xdp_redirect_err` tells.
   */
  redirect(
    this: Builder<XdpVerdict>,
    map: MapSpec<Type, Type, KindsFor<'redirect into'>>,
    key: Int<32> | number,
    otherwise: XdpAction,
  ): Int<32>;
  /** The verdict that lets a packet come in by an interface of this network namespace, as if it had been received there. */
  redirect(this: Builder<TcVerdict>, ifindex: Int<32> | number, options: { readonly ingress: boolean }): Int<32>;
  /** The verdict that sends a packet out by an interface of this network namespace, given by its index. */
  redirect(ifindex: Int<32> | number): Int<32>;
  redirect(...to: RedirectTarget): Int<32> {
    return emitRedirect(this.#emitter, to);
  }

  /** Nanoseconds since boot, without time in suspension; exact, and expensive on machines that emulate the clock. */
  ktimeGetNs(): Int<64> {
    return this.call('ktime_get_ns');
  }
  /** The same clock as of the last tick (1 to 10 ms old), at a fraction of the price. Linux 5.11. */
  ktimeGetCoarseNs(): Int<64> {
    return this.call('ktime_get_coarse_ns');
  }
  /** A random number, good enough for sampling and for simulated traffic. */
  randomU32(): Int<32> {
    return this.call('get_prandom_u32').u32();
  }

  #constant<W extends Width>(width: W, value: number | bigint): Int<W> {
    if (typeof value !== 'number' && typeof value !== 'bigint') {
      const isInt = (value as unknown) instanceof Int;
      const what = isInt ? 'the kernel' : `type ${typeof value}`;
      const advice = isInt ? `use it as it is, or convert it with value.u${String(width)}()` : 'give a number';
      throw new DslError(`make $.u${String(width)} of a value of ${what}: ${advice}`, new CallSite().location);
    }
    return new Int(this.#emitter, width, 0n).add(value);
  }
}
