/** What functions are built with. Over 300 lines because blocks, scopes and frame slots share the current place. */
import type { CompareName } from '../asm/opcode.ts';
import type { Signature } from '../btf/btf.ts';
import { DslError } from '../errors.ts';
import {
  type Block,
  FIRST_VREG,
  type IrFunction,
  type Op,
  type Operand,
  type Terminator,
  type VReg,
} from '../ir/ir.ts';
import { CallSite } from '../source-location.ts';
import { foundRegister } from './map-of-maps.ts';
import type { MapSpec } from './map.ts';

/** The test of a condition whose operands have been computed. */
export type Test =
  | { readonly kind: 'constant'; readonly value: boolean }
  | {
      readonly kind: 'compare';
      readonly compare: CompareName;
      readonly width: 32 | 64;
      readonly a: Operand;
      readonly b: Operand;
    }
  | { readonly kind: 'and' | 'or'; readonly left: Test; readonly right: Test }
  | { readonly kind: 'not'; readonly of: Test };

/** A stretch of the program that values belong to: a value may be used where its scope is still open. */
export interface Scope {
  readonly parent: Scope | undefined;
  readonly emitter: Emitter;
  open: boolean;
}

/** Something whose state differs from branch to branch and has to agree where they meet: the packet cursor. */
export interface BranchState {
  /** Something was called that changes the packet: no view of it from before can be used. */
  voided(): void;
  save(): unknown;
  restore(state: unknown): void;
  /** Where a path goes on behind the block that began with the state `at`: ends what that path opened since. */
  leave(at: unknown): void;
  /** Brings the states at the ends of several blocks together and continues with what results. */
  merge(ends: readonly { readonly block: Block; readonly state: unknown }[]): void;
  /** Before a loop: makes the state one that each round can change. Returns what each edge out of a round has to do. */
  enterLoop(): () => void;
}

/** A condition or look-up that the program has to use. */
export interface Pending {
  readonly site: CallSite;
  readonly what: string;
}

/** Where a context has the packet's bounds, of which the verifier makes pointers, and what came with it. */
export interface ContextLayout {
  /** What the kernel's BTF calls it. */
  readonly type: 'xdp_md' | '__sk_buff';
  readonly data: number;
  readonly dataEnd: number;
  readonly ingressIfindex: number;
}

/** Functions, maps and names of the program being built. */
export interface ProgramContext {
  readonly layout: ContextLayout;
  /** By name, with the definition that each was built from. */
  readonly functions: Map<string, { readonly of: object; readonly ir: IrFunction; readonly emitter: Emitter }>;
  readonly maps: Map<string, MapSpec>;
}

/** Builds one function of the intermediate representation: emits into the current block, opens and closes blocks and scopes. */
export class Emitter {
  readonly fn: IrFunction;
  readonly context: ProgramContext;
  readonly #pending = new Set<Pending>();
  readonly #freeSlots = new Map<number, number[]>();
  #scopeSlots: { readonly slot: number; readonly size: number }[] = [];
  readonly states: BranchState[] = [];
  #blocks = 0;
  #depth = 0;
  #current: Block;
  #scope: Scope;
  #reachable = true;
  #suspended = false;
  /** Whether something in this function changes the packet, so that its callers' views are void. */
  changesPacket = false;
  #held: string | undefined;
  /** How many ways out of the program, and of the inlines and loops around this place, were emitted so far. */
  leaves = 0;
  /** The author's line that is being emitted, where it was looked for already: finding it costs more than all else that emitting does. */
  #line: CallSite | undefined;

  constructor(name: string, signature: Signature, context: ProgramContext, { ownStack = false } = {}) {
    this.context = context;
    const params = signature.parameters.map((_, index) => FIRST_VREG + index);
    const nextVReg = FIRST_VREG + params.length;
    this.fn = { name, params, signature, site: new CallSite(), ownStack, blocks: [], frame: [], nextVReg };
    this.#scope = { parent: undefined, emitter: this, open: true };
    this.#current = this.block();
    this.fn.blocks.push(this.#current);
  }

  get current(): Block {
    return this.#current;
  }

  get scope(): Scope {
    return this.#scope;
  }

  /** Whether any path comes to the current place. */
  get reachable(): boolean {
    return this.#reachable;
  }

  vreg(): VReg {
    return this.fn.nextVReg++;
  }

  /** The author's line, from here on. */
  line(): CallSite {
    return this.#line ?? new CallSite();
  }

  /** Runs what emits for one line of the author, and none of the author's blocks; the line is looked for once. */
  onLine<T>(body: () => T, line = this.line()): T {
    const before = this.#line;
    this.#line = line;
    try {
      return body();
    } finally {
      this.#line = before;
    }
  }

  emit(op: Op): void {
    this.emitInto(this.#current, op);
  }

  emitInto(block: Block, op: Op): void {
    if (this.#suspended) this.refuseForeign();
    if (this.#held !== undefined) refuseCall(op, this.#held);
    block.ops.push(op.site ? op : { ...op, site: this.#line ?? new CallSite() });
  }

  /** A block that is not placed yet. */
  block(): Block {
    return { id: this.#blocks++, depth: this.#depth, ops: [], end: undefined };
  }

  /** Continues with `block`, whose place in the text is here. */
  place(block: Block, reachable = true): void {
    this.fn.blocks.push(block);
    this.#current = block;
    this.#reachable = reachable;
  }

  #terminate(end: Terminator): void {
    if (this.#suspended) this.refuseForeign();
    this.#current.end = end.site ? end : { ...end, site: this.#line ?? new CallSite() };
  }

  jump(to: Block): void {
    this.#terminate({ op: 'jump', to: to.id });
  }

  /** Leaves the function; operations emitted after this are dropped. */
  exit(value: Operand, note?: string): void {
    this.leaves++;
    this.#terminate({ op: 'exit', value, note });
    this.place(this.block(), false);
  }

  branch(test: Test, then: Block, otherwise: Block): void {
    switch (test.kind) {
      case 'constant':
        return this.jump(test.value ? then : otherwise);
      case 'not':
        return this.branch(test.of, otherwise, then);
      case 'compare': {
        const { compare, width, a, b } = test;
        return this.#terminate({ op: 'branch', compare, width, a, b, then: then.id, otherwise: otherwise.id });
      }
      default: {
        const second = this.block();
        if (test.kind === 'and') this.branch(test.left, second, otherwise);
        else this.branch(test.left, then, second);
        this.place(second, this.#reachable);
        this.branch(test.right, then, otherwise);
      }
    }
  }

  /** Runs `body`, which must run to its end. @throws DslError with `reason` when it leaves the block around it. */
  withoutLeaving(reason: string, body: () => void): void {
    const before = this.leaves;
    body();
    if (this.leaves !== before) throw new DslError(reason, new CallSite().location);
  }

  /** Runs `body`, some of whose exits lead to its own end: those that `leaving` reports do not count for the block around it. */
  leavable<T>(body: (leaving: () => void) => T): T {
    let own = 0;
    const result = body(() => {
      own++;
      this.leaves++;
    });
    this.leaves -= own;
    return result;
  }

  /** The map whose lock is held here, if one is. */
  get held(): string | undefined {
    return this.#held;
  }

  /** Runs `body`, in which the lock of a value of this map is held. */
  holding(map: string, body: () => void): void {
    this.#held = map;
    try {
      body();
    } finally {
      this.#held = undefined;
    }
  }

  /** Runs `body` in a scope of its own. */
  scoped<T>(body: () => T): T {
    const scope: Scope = { parent: this.#scope, emitter: this, open: true };
    this.#scope = scope;
    const slots = this.#scopeSlots;
    this.#scopeSlots = [];
    try {
      return body();
    } finally {
      scope.open = false;
      this.#scope = scope.parent!;
      // Nothing made inside can be used from here on, so its memory is free.
      for (const { slot, size } of this.#scopeSlots) this.#free(size, slot);
      this.#scopeSlots = slots;
    }
  }

  looped<T>(body: (leaving: () => void) => T): T {
    this.#depth++;
    try {
      return this.leavable(body);
    } finally {
      this.#depth--;
    }
  }

  /** Runs `body`, which builds another function: nothing of this one can be used in it. */
  suspended(body: () => void): void {
    this.#suspended = true;
    try {
      body();
    } finally {
      this.#suspended = false;
    }
  }

  /** The function is whole: nothing of it can be used any more. */
  finish(): void {
    this.#suspended = true;
  }

  /** @throws DslError where another function is being built. */
  checkActive(what: string, advice: string): void {
    if (this.#suspended) this.refuseForeign(what, advice);
  }

  /** @throws DslError: a value of one function was used in another. */
  refuseForeign(what = 'value', advice = 'pass it as a parameter of the func, or in the state of the callback'): never {
    throw new DslError(`use ${what}: it belongs to another program or function; ${advice}`, new CallSite().location);
  }

  /** @throws DslError when a value of `scope` cannot be used here. */
  checkUsable(scope: Scope): void {
    if (scope.emitter !== this || this.#suspended) this.refuseForeign();
    if (!scope.open) {
      throw new DslError(
        'use value: it was made inside a branch or loop that has ended; make it before, or carry it out with $.let',
        new CallSite().location,
      );
    }
  }

  /** Registers something that has to be used before the program ends. */
  expectUse(what: string): Pending {
    const pending: Pending = { site: this.line(), what };
    this.#pending.add(pending);
    return pending;
  }

  used(pending: Pending): void {
    this.#pending.delete(pending);
  }

  /** @throws DslError for the first thing that was made and never used. */
  checkLeftovers(): void {
    for (const { what, site } of this.#pending) throw new DslError(`build ${this.fn.name}: ${what}`, site.location);
  }

  /** Makes every view of the packet void, after a call that may have changed where it lies. */
  voidPackets(): void {
    this.changesPacket = true;
    for (const state of this.states) state.voided();
  }

  /** A frame slot for the time of `use`; later ones may share its bytes. */
  withSlot<T>(size: number, use: (slot: number) => T): T {
    const rounded = Math.ceil(size / 8) * 8;
    const slot = this.#take(rounded);
    const result = use(slot);
    this.#free(rounded, slot);
    return result;
  }

  /** A frame slot that stays until the current scope ends. */
  slot(size: number): number {
    const rounded = Math.ceil(size / 8) * 8;
    const slot = this.#take(rounded);
    this.#scopeSlots.push({ slot, size: rounded });
    return slot;
  }

  #take(size: number): number {
    return this.#freeSlots.get(size)?.pop() ?? this.fn.frame.push(size) - 1;
  }

  #free(size: number, slot: number): void {
    const free = this.#freeSlots.get(size) ?? [];
    this.#freeSlots.set(size, free);
    free.push(slot);
  }

  frameAddress(slot: number, offset = 0): VReg {
    const dst = this.vreg();
    this.emit({ op: 'frame', dst, slot, offset });
    return dst;
  }

  /** Makes the program use `map`. @throws DslError when another map has its name. */
  useMap(map: MapSpec): void {
    const known = this.context.maps.get(map.name);
    if (known && known !== map) {
      throw new DslError(`use map ${map.name}: the program has another map of this name`, new CallSite().location);
    }
    this.context.maps.set(map.name, map);
  }

  mapPointer(map: MapSpec): VReg {
    const found = foundRegister(map);
    if (found !== undefined) return found;
    this.useMap(map);
    const dst = this.vreg();
    this.emit({ op: 'map', dst, map: map.name });
    return dst;
  }
}

/** @throws DslError for a call, which the verifier does not allow while a lock is held. */
function refuseCall(op: Op, map: string): void {
  if (op.op !== 'call' && op.op !== 'kernelCall' && op.op !== 'invoke') return;
  throw new DslError(
    `${op.note ?? 'call'}: nothing can be called while a value of ${map} is locked; call before or after, and carry results with $.let`,
    new CallSite().location,
  );
}
