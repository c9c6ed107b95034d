/**
 * The intermediate representation: functions of basic blocks over virtual registers.
 *
 * An operand is a number (a virtual register, 16 and up, so that r0-r10 keep their own numbers after selection) or a
 * bigint (a constant). A register always holds 64 bits; a value narrower than that has zeros above it. Temporaries have one
 * definition, variables several; there are no phi nodes.
 */
import type { AluName, AtomicName, ByteSize, CompareName } from '../asm/opcode.ts';
import type { Signature } from '../btf/btf.ts';
import type { CallSite } from '../source-location.ts';

export type VReg = number;
export type Operand = VReg | bigint;

export const FIRST_VREG = 16;

/** Where memory is: a register plus an offset, or a frame slot plus an offset. */
export interface Address {
  readonly base: VReg | { readonly slot: number };
  readonly offset: number;
}

/** A constant that may differ when the function is used again; fixed once a pass has looked at its value. */
export interface Replaceable {
  readonly number: number;
  fixed: boolean;
}

interface Common {
  readonly site?: CallSite | undefined;
  readonly note?: string | undefined;
  /** Where `b`, or the offset of a load, is replaceable. */
  readonly constant?: Replaceable | undefined;
}

export type Op = Common &
  (
    | { readonly op: 'mov'; readonly dst: VReg; readonly src: Operand }
    /** The low 32 bits, zero above. */
    | { readonly op: 'truncate'; readonly dst: VReg; readonly src: VReg }
    | {
        readonly op: 'alu';
        readonly alu: AluName;
        readonly width: 32 | 64;
        readonly dst: VReg;
        readonly a: Operand;
        readonly b: Operand;
      }
    /** Host order to network order or back, for the low `bits`; zero above. */
    | { readonly op: 'swap'; readonly bits: 16 | 32 | 64; readonly dst: VReg; readonly a: VReg }
    | { readonly op: 'load'; readonly size: ByteSize; readonly dst: VReg; readonly from: Address }
    | { readonly op: 'store'; readonly size: ByteSize; readonly to: Address; readonly src: Operand }
    | {
        readonly op: 'atomic';
        readonly kind: AtomicName;
        readonly size: 4 | 8;
        readonly to: Address;
        readonly src: Operand;
        /** The old value, where it is wanted. */
        readonly dst?: VReg;
        /** What cmpxchg compares with. */
        readonly expected?: Operand;
      }
    | { readonly op: 'frame'; readonly dst: VReg; readonly slot: number; readonly offset: number }
    | { readonly op: 'map'; readonly dst: VReg; readonly map: string }
    | { readonly op: 'mapValue'; readonly dst: VReg; readonly map: string; readonly offset: number }
    /** The address of a function of the program, for helpers that call it back. */
    | { readonly op: 'function'; readonly dst: VReg; readonly callee: string }
    | { readonly op: 'call'; readonly helper: number; readonly args: readonly Operand[]; readonly dst?: VReg }
    /** A function of the kernel, found by name in its BTF. */
    | { readonly op: 'kernelCall'; readonly name: string; readonly args: readonly Operand[]; readonly dst?: VReg }
    | { readonly op: 'invoke'; readonly callee: string; readonly args: readonly Operand[]; readonly dst?: VReg }
  );

export type Terminator = Common &
  (
    | { readonly op: 'jump'; readonly to: number }
    | {
        readonly op: 'branch';
        readonly compare: CompareName;
        readonly width: 32 | 64;
        readonly a: Operand;
        readonly b: Operand;
        readonly then: number;
        readonly otherwise: number;
      }
    | { readonly op: 'exit'; readonly value: Operand }
  );

export interface Block {
  readonly id: number;
  /** How many loops are around it; spilling avoids the inner ones. */
  readonly depth: number;
  ops: Op[];
  end: Terminator | undefined;
}

export interface IrFunction {
  readonly name: string;
  readonly params: readonly VReg[];
  readonly signature: Signature;
  readonly site: CallSite;
  /** Whether the kernel runs it later, on a stack of its own and not on that of the function that hands it over: a timer's callback. */
  readonly ownStack: boolean;
  /** In the order of the text; the first is the entry. */
  blocks: Block[];
  /** Sizes in bytes of the frame slots, by number. */
  readonly frame: number[];
  /** The next free virtual register. */
  nextVReg: number;
}

/** Tells of each register that an operation reads, in order. */
export function eachUse(op: Op | Terminator, use: (register: VReg) => void): void {
  const operand = (given: Operand): void => {
    if (typeof given === 'number') use(given);
  };
  switch (op.op) {
    case 'mov':
    case 'truncate':
      return operand(op.src);
    case 'alu':
    case 'branch':
      operand(op.a);
      return operand(op.b);
    case 'swap':
      return use(op.a);
    case 'load':
      if (typeof op.from.base === 'number') use(op.from.base);
      return;
    case 'store':
    case 'atomic':
      if (typeof op.to.base === 'number') use(op.to.base);
      operand(op.src);
      if (op.op === 'atomic' && op.expected !== undefined) operand(op.expected);
      return;
    case 'call':
    case 'kernelCall':
    case 'invoke':
      return op.args.forEach(operand);
    case 'exit':
      return operand(op.value);
    case 'frame':
    case 'map':
    case 'mapValue':
    case 'function':
    case 'jump':
  }
}

/** The register an operation writes, if any. */
export function opDef(op: Op): VReg | undefined {
  return 'dst' in op ? op.dst : undefined;
}

/** Whether an operation can be removed if its result is not read. */
export function isPure(op: Op): boolean {
  return !(op.op === 'store' || op.op === 'atomic' || op.op === 'call' || op.op === 'kernelCall' || op.op === 'invoke');
}

/** The same operation with its read operands replaced, the operation itself where none is; addresses keep registers only. */
export function mapUses<T extends Op | Terminator>(op: T, replace: (operand: Operand) => Operand): T {
  const register = (operand: VReg): VReg => {
    const replaced = replace(operand);
    return typeof replaced === 'number' ? replaced : operand;
  };
  const address = (at: Address): Address => {
    if (typeof at.base !== 'number') return at;
    const base = register(at.base);
    return base === at.base ? at : { ...at, base };
  };
  switch (op.op) {
    case 'mov': {
      const src = replace(op.src);
      return src === op.src ? op : { ...op, src };
    }
    case 'truncate': {
      const src = register(op.src);
      return src === op.src ? op : { ...op, src };
    }
    case 'alu':
    case 'branch': {
      const [a, b] = [replace(op.a), replace(op.b)];
      return a === op.a && b === op.b ? op : { ...op, a, b };
    }
    case 'swap': {
      const a = register(op.a);
      return a === op.a ? op : { ...op, a };
    }
    case 'load': {
      const from = address(op.from);
      return from === op.from ? op : { ...op, from };
    }
    case 'store': {
      const [to, src] = [address(op.to), replace(op.src)];
      return to === op.to && src === op.src ? op : { ...op, to, src };
    }
    case 'atomic':
      return {
        ...op,
        to: address(op.to),
        src: replace(op.src),
        ...(op.expected === undefined ? {} : { expected: replace(op.expected) }),
      };
    case 'call':
    case 'kernelCall':
    case 'invoke':
      return { ...op, args: op.args.map(replace) };
    case 'exit': {
      const value = replace(op.value);
      return value === op.value ? op : { ...op, value };
    }
    default:
      return op;
  }
}

/** The blocks that may come next. */
export function successors(end: Terminator | undefined): number[] {
  switch (end?.op) {
    case 'jump':
      return [end.to];
    case 'branch':
      return [end.then, end.otherwise];
    default:
      return [];
  }
}
