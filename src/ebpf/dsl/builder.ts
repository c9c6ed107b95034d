/** The builder of programs. Over 300 lines because its methods are the language: one short method a construct. */
import type { CompareName } from '../asm/opcode.ts';
import type { Struct, Type } from '../btf/type.ts';
import { DslError } from '../errors.ts';
import type { Operand } from '../ir/ir.ts';
import { CallSite } from '../source-location.ts';
import type { ArgumentKind } from '../uapi/helper-prototype.ts';
import { helpers } from '../uapi/helpers.gen.ts';
import type { TcVerdict, XdpAction, XdpVerdict } from './action.ts';
import type { Block, BuilderCore } from './blocks.ts';
import { changesPacket, kernelFunctionChangesPacket } from './changes-packet.ts';
import type { Callable } from './callable.ts';
import type { AnyView, LoopStep } from './callback.ts';
import { Condition } from './condition.ts';
import type { Emitter } from './emitter.ts';
import { emitForEach, type Entry } from './for-each.ts';
import type { ContextValue, HelperArguments, HelperName } from './helper-arguments.ts';
import { emitInline, type Given, type Shape, type Shaped } from './inline.ts';
import { emitLoop, type LoopControl } from './loop.ts';
import { type Found, foundIn } from './found.ts';
import { UpdateFlag } from './update-flag.ts';
import { emitCancelTimer, emitRestartTimer, emitStartTimer } from './timer.ts';
import { emitLocked } from './lock.ts';
import { type NotFound, refuseFound } from './map-of-maps.ts';
import { type MapValue, mapValue } from './map-value.ts';
import type { Network } from './int.ts';
import { copied, Int, IntVariable, type NetworkWidth, NetworkVariable, UNKNOWN, type Width } from './int.ts';
import type { Kind, ValueOf } from './kind.ts';
import { HELPER_OPERATIONS, type KindsFor, type MapOperation, requireKind } from './map-kind.ts';
import type { MapSpec, RingSpec } from './map.ts';
import { type Alike, type Choosable, type Chosen, emitWhen } from './when.ts';
import { EnumMember, EnumValue, EnumVariable } from './enum.ts';
import { Exited } from './exited.ts';
import { Maybe } from './maybe.ts';
import { addressRegister, type Memory, memoryAt } from './memory.ts';
import { emitRedirect, type RedirectTarget } from './redirect.ts';
import { emitRepeat } from './repeat.ts';
import type { SocketPointer } from './socket.ts';
import { type ElementOf, isViewOf, memoryOf, type View, viewOf, type ViewWith, writeType } from './view.ts';
import { filled, zeroTheRest } from './zeros.ts';

type RoundBody = (inner: Builder<LoopStep>, round: Int<32>, state: AnyView) => LoopStep | Exited | void;
type EntryBody<K extends Type, V extends Type> = (
  inner: Builder<LoopStep>,
  entry: Entry<K, V>,
  state: AnyView,
) => LoopStep | Exited | void;

/**
 * What a program is written with. Every call emits its instructions at once, so reading order is running order. `R` is what
 * a block may leave the program with.
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
   * A macro that returns early in the kernel: what a block of the inner builder returns is its result, as what a block of a program
   * returns is the verdict. `shape` is the result's width or enum, or a record of such. Blocks of other builders leave the inline with
   * `inner.leave(value)`, and blocks of the builder around it leave the program as everywhere.
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
   * Runs `body` in the kernel `count` times, a number of the kernel or of at most 8,388,608 (`bpf_loop`). The body is a function of its own,
   * which the verifier walks once however many rounds there are: it has a builder of its own, the round's number from 0, and `state`, memory of the frame that
   * it shares with what is around it, and can use nothing else from there. What its blocks return ends the round. The result is how
   * many rounds were begun; -E2BIG, and none, where `count` is beyond the limit. Linux 5.17.
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
   * Runs `body` for each entry of a map, as a callback like that of `repeat`: with its key, which was read, and its value in the map; of per-CPU
   * maps that of this CPU. The entry of a hash may be deleted in it; what others add or delete meanwhile may be seen or not. The
   * result is how many entries were visited. Linux 5.13.
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
    requireKind(map, 'look up in');
    const emitter = this.#emitter;
    const dst = emitter.vreg();
    this.#withKey(map, key, (pointer) => {
      const args = [emitter.mapPointer(map), pointer];
      emitter.emit({ op: 'call', helper: helpers.map_lookup_elem.id, args, dst, note: `look up ${map.name}` });
    });
    return this.#maybePointer(dst, `the result of looking up ${map.name}`, () => foundIn(emitter, map, dst));
  }

  /** The only value of an array of one entry, without a look-up: its address is known when the program is loaded. */
  at<V extends Type>(map: MapSpec<Type, V, KindsFor<'take the place of'>> & NotFound, index: number): MapValue<V> {
    requireKind(map, 'take the place of');
    refuseFound(map, 'take the place of');
    // array_map_direct_value_addr, kernel/bpf/arraymap.c: the kernel knows the address of an only entry, and of no other.
    if (map.maxEntries !== 1 || index !== 0) {
      throw new DslError(
        `use ${map.name} at ${String(index)}: it has ${String(map.maxEntries)} entries, and only the one of an array of one entry has a fixed place; look others up`,
        new CallSite().location,
      );
    }
    const emitter = this.#emitter;
    emitter.useMap(map);
    const dst = emitter.vreg();
    emitter.emit({ op: 'mapValue', dst, map: map.name, offset: 0 });
    return mapValue(memoryAt(this.#emitter, dst, map.name, map), map.value!);
  }

  /** Writes a value to a map. The result is 0, or a negative errno (`UpdateFlag.NOEXIST`: -EEXIST when the key is there). */
  update<K extends Type, V extends Type>(
    map: MapSpec<K, V, KindsFor<'update'>>,
    key: ElementOf<K>,
    value: ElementOf<V>,
    flag: number = UpdateFlag.ANY,
  ): Int<64> {
    requireKind(map, 'update');
    const emitter = this.#emitter;
    const dst = emitter.vreg();
    this.#withKey(map, key, (keyPointer) => {
      this.#inFrame(map.value!, value, map.name, (valuePointer) => {
        const args = [emitter.mapPointer(map), keyPointer, valuePointer, BigInt(flag)];
        emitter.emit({ op: 'call', helper: helpers.map_update_elem.id, args, dst, note: `update ${map.name}` });
      });
    });
    return new Int(emitter, 64, dst);
  }

  /** Removes a key from a map. The result is 0, or a negative errno. */
  delete<K extends Type>(map: MapSpec<K, Type, KindsFor<'delete from'>>, key: ElementOf<K>): Int<64> {
    requireKind(map, 'delete from');
    const emitter = this.#emitter;
    const dst = emitter.vreg();
    this.#withKey(map, key, (pointer) => {
      const args = [emitter.mapPointer(map), pointer];
      emitter.emit({ op: 'call', helper: helpers.map_delete_elem.id, args, dst, note: `delete from ${map.name}` });
    });
    return new Int(emitter, 64, dst);
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
    requireKind(ring, 'record in');
    const emitter = this.#emitter;
    const dst = emitter.vreg();
    const line = emitter.line();
    const args = [emitter.mapPointer(ring), BigInt(type.size), 0n];
    emitter.emit({ op: 'call', helper: helpers.ringbuf_reserve.id, args, dst, note: `reserve in ${ring.name}` });
    const memory = (): Memory => memoryAt(this.#emitter, dst, ring.name);
    this.#maybePointer(dst, `a record of ${ring.name}`, memory).match({
      some: (record) => {
        emitter.withoutLeaving(
          `leave with a record: the block leaves before the record of ${ring.name} is submitted; carry the outcome out with $.let`,
          () => {
            filled(record, type.size, (watched) => {
              fill(viewOf(watched, type));
            });
          },
        );
        const args = [dst, 0n];
        const note = `submit to ${ring.name}`;
        emitter.onLine(() => emitter.emit({ op: 'call', helper: helpers.ringbuf_submit.id, args, note }), line);
      },
      none: () => {
        emitter.onLine(() => {
          this.lookup(ring.lost, 0).match({
            some: (lost) => {
              lost.ref('value').add(1);
            },
          });
        }, line);
      },
    });
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
    const emitter = this.#emitter;
    const slot = emitter.slot(type.size);
    for (let offset = 0; offset < Math.ceil(type.size / 8) * 8; offset += 8) {
      emitter.emit({ op: 'store', size: 8, to: { base: { slot }, offset }, src: 0n, note: `${type.name} = 0` });
    }
    const memory: Memory = {
      emitter,
      address: { base: { slot }, offset: 0 },
      name: type.name,
      check: this.#scopeCheck(),
    };
    return viewOf(memory, type);
  }

  /**
   * Calls a helper of the kernel by name. Pointers are views (of the frame, a map value, the packet); the result is what the
   * helper returns, a negative errno where it fails.
   */
  call<Name extends HelperName>(name: Name, ...args: HelperArguments<Name>): Int<64> {
    if (!(name in helpers)) {
      const short = (name as string).replace(/^bpf_/, '');
      const advice = short in helpers ? `write ${short}, without bpf_` : 'take one of linux/bpf.h, without bpf_';
      throw new DslError(`call ${name}: no helper has this name; ${advice}`, new CallSite().location);
    }
    const { id, args: kinds, returns } = helpers[name];
    if (returns === 'pointer') {
      throw new DslError(`call ${name}: it returns a pointer; use the method made for it`, new CallSite().location);
    }
    const operation = (HELPER_OPERATIONS as Partial<Record<HelperName, MapOperation>>)[name];
    if (operation) requireKind((args as readonly unknown[])[kinds.indexOf('map' as never)] as MapSpec, operation);
    const emitter = this.#emitter;
    const operands = (kinds as readonly ArgumentKind[]).map((kind, index) =>
      this.#argument(kind, (args as readonly unknown[])[index]),
    );
    const dst = emitter.vreg();
    emitter.emit({ op: 'call', helper: id, args: operands, dst, note: name });
    if (changesPacket(name)) emitter.voidPackets();
    return new Int(emitter, 64, dst);
  }

  /**
   * Calls a function of the kernel by its name in the kernel's BTF; what it wants is looked up when the program is loaded, which
   * fails with UnsupportedError where the kernel has none of that name.
   */
  callKernel(name: string, ...args: (ContextValue | SocketPointer | Int | number | object)[]): Int<32> {
    const emitter = this.#emitter;
    const operands = args.map((value): Operand => {
      if (value instanceof Int) return value.operandIn(emitter);
      if (typeof value === 'number') return BigInt(value);
      if ('context' in value) return value.context;
      if ('socket' in value) return value.socket;
      return addressRegister(memoryOf(value));
    });
    const dst = emitter.vreg();
    emitter.emit({ op: 'kernelCall', name, args: operands, dst, note: name });
    if (kernelFunctionChangesPacket(name)) emitter.voidPackets();
    return new Int(emitter, 64, dst).u32();
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
    requireKind(programs, 'tail call through');
    const emitter = this.#emitter;
    const operand = index instanceof Int ? index.operandIn(emitter) : BigInt(index);
    const args = [context.context, emitter.mapPointer(programs), operand];
    emitter.emit({ op: 'call', helper: helpers.tail_call.id, args, note: `tail call ${programs.name}` });
    emitter.voidPackets();
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

  #argument(kind: ArgumentKind, value: unknown): Operand {
    switch (kind) {
      case 'ctx':
        return (value as ContextValue).context;
      case 'map':
        return this.#emitter.mapPointer(value as MapSpec);
      case 'pointer':
        if ('socket' in (value as object)) return (value as SocketPointer).socket;
        return addressRegister(memoryOf(value as object));
      case 'scalar':
        return value instanceof Int ? value.operandIn(this.#emitter) : BigInt.asUintN(64, BigInt(value as number));
    }
  }

  #scopeCheck(): () => void {
    const scope = this.#emitter.scope;
    return () => {
      this.#emitter.checkUsable(scope);
    };
  }

  #maybePointer<T>(pointer: number, what: string, make: () => T): Maybe<T, R> {
    const compare: CompareName = 'ne';
    return new Maybe(this.#core, { kind: 'compare', compare, width: 64, a: pointer, b: 0n }, make, what);
  }

  #withKey<K extends Type>(map: MapSpec<K>, key: ElementOf<K>, use: (pointer: Operand) => void): void {
    this.#emitter.onLine(() => this.#inFrame(map.key!, key, `${map.name} key`, use));
  }

  /** Puts a value into the frame for the time of one call. */
  #inFrame(type: Type, value: unknown, name: string, use: (pointer: Operand) => void): void {
    const emitter = this.#emitter;
    if (isViewOf(type, value)) {
      use(addressRegister(memoryOf(value)));
      return;
    }
    emitter.withSlot(type.size, (slot) => {
      const memory: Memory = { emitter, address: { base: { slot }, offset: 0 }, name, check: () => {} };
      zeroTheRest(memory, type, value);
      writeType(memory, type, value);
      use(emitter.frameAddress(slot));
    });
  }
}
