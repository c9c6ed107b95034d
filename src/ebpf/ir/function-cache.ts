/**
 * Functions that were compiled before. A function with the same operations, or with other constants that no pass looked at, is not compiled again:
 * the constants are filled into the instructions. Constants that a pass looked at have to be equal.
 */
import { createHash } from 'node:crypto';
import type { Instruction } from '../asm/instruction.ts';
import { Class } from '../asm/opcode.ts';
import { type CallSite, looksForSites } from '../source-location.ts';
import type { Frame } from './frame.ts';
import type { Block, IrFunction, Op, Replaceable, Terminator } from './ir.ts';

/** A function as instructions, its jumps with their distances. */
export interface FunctionCode {
  readonly insns: readonly Instruction[];
  readonly frame: Frame;
  readonly site: CallSite;
}

export interface KnownFunction {
  readonly code: FunctionCode;
  /** The constants that have to be the same, by number. */
  readonly fixed: readonly (readonly [number: number, value: bigint])[];
}

/** What was compiled, by a hash of what is looked up. */
export type KnownFunctions = readonly (readonly [text: string, entries: readonly KnownFunction[]])[];

/** The key of a look-up: a hash of everything but the replaceable constants, and those constants. */
interface Shape {
  readonly text: string;
  readonly constants: readonly bigint[];
}

/** Texts that are kept, the newest. */
const MAX_TEXTS = 64;
/** Entries of a text that are kept, the newest: they differ in fixed constants. */
const MAX_ENTRIES = 8;

const ORDERS = new Set(['gt', 'ge', 'lt', 'le', 'sgt', 'sge', 'slt', 'sle']);
const SUMS = new Set(['add', 'sub', 'mul']);

/** Constants of one kind are encoded alike: positive immediates that are not a neutral element, those that need a wide load. Offsets of loads are a third kind. */
type Kind = 'immediate' | 'wide';

function kindOf(value: bigint): Kind | undefined {
  if (value > 1n && value <= 0x7fff_ffffn) return 'immediate';
  return value > 0xffff_ffffn && value < 0xffff_ffff_8000_0000n ? 'wide' : undefined;
}

/** The constant of an operation that no pass has to look at, and the operation without it. */
function replaceable(op: Op | Terminator): { readonly value: bigint; readonly rest: object } | undefined {
  if (op.op === 'load') {
    const { base, offset } = op.from;
    if (typeof base !== 'number' || offset < 0 || offset > 0x7fff) return undefined;
    return { value: BigInt(offset), rest: { ...op, from: { base, offset: '' } } };
  }
  if (!(op.op === 'branch' ? ORDERS.has(op.compare) : op.op === 'alu' && SUMS.has(op.alu))) return undefined;
  const { a, b, width } = op as Op & { op: 'alu' };
  if (typeof a !== 'number' || typeof b !== 'bigint') return undefined;
  const kind = kindOf(b);
  if (kind === undefined || (kind === 'wide' && (width !== 64 || op.op === 'branch'))) return undefined;
  return { value: b, rest: { ...op, b: kind } };
}

/** The fields of an operation that decide on its instructions. */
function textOf(value: unknown): string {
  if (typeof value !== 'object' || value === null)
    return typeof value === 'bigint' ? `${String(value)}n` : String(value);
  let text = '';
  for (const key in value) {
    if (key !== 'site' && key !== 'note') text += `${key}:${textOf(value[key as never])},`;
  }
  return `{${text}}`;
}

function shapeOf({ name, params, signature, blocks, frame, nextVReg }: IrFunction): Shape {
  const constants: bigint[] = [];
  const rows = [name, textOf({ params, signature, frame, nextVReg })];
  const add = (op: Op | Terminator): void => {
    const found = replaceable(op);
    if (found) constants.push(found.value);
    rows.push(textOf(found?.rest ?? op));
  };
  for (const { id, depth, ops, end } of blocks) {
    rows.push(`${String(id)} ${String(depth)}`);
    ops.forEach(add);
    if (end) add(end);
  }
  return { text: createHash('sha256').update(rows.join('\n')).digest('hex'), constants };
}

/** A copy whose replaceable constants are numbered, and those in order. */
function numbered(fn: IrFunction): { readonly copy: IrFunction; readonly constants: readonly Replaceable[] } {
  const constants: Replaceable[] = [];
  const mark = <T extends Op | Terminator>(op: T): T => {
    if (replaceable(op) === undefined) return op;
    const constant = { number: constants.length, fixed: false };
    constants.push(constant);
    return { ...op, constant };
  };
  const blocks = fn.blocks.map(({ ops, end, ...block }): Block => ({
    ...block,
    ops: ops.map(mark),
    end: end && mark(end),
  }));
  return { copy: { ...fn, blocks }, constants };
}

/** The same code with other constants. */
function withConstants(code: FunctionCode, constants: readonly bigint[]): FunctionCode {
  const insns = code.insns.map((insn) => {
    if (insn.constant === undefined) return insn;
    const value = constants[insn.constant]!;
    if (insn.wide !== undefined) return { ...insn, wide: BigInt.asIntN(64, value) };
    return (insn.opcode & 7) === Class.LDX ? { ...insn, offset: Number(value) } : { ...insn, imm: Number(value) };
  });
  return { ...code, insns };
}

export class FunctionCache {
  readonly #known = new Map<string, readonly KnownFunction[]>();

  get empty(): boolean {
    return this.#known.size === 0;
  }

  get known(): KnownFunctions {
    return [...this.#known];
  }

  /** Takes over what another cache has. */
  learn(known: KnownFunctions): void {
    for (const [text, entries] of known) if (!this.#known.has(text)) this.#known.set(text, entries);
  }

  /** A function's code as it was compiled before, or by `compile` now. Source lines are those of the first time; a function without any is not compiled. */
  compiled(fn: IrFunction, compile: (fn: IrFunction) => FunctionCode): FunctionCode {
    const { text, constants } = shapeOf(fn);
    const entries = this.#known.get(text) ?? [];
    const known = entries.find(({ fixed }) => fixed.every(([number, value]) => constants[number] === value));
    if (known) return withConstants(known.code, constants);
    if (!looksForSites()) throw new Error(`compile function ${fn.name}: it is not known, and has no source lines`);
    const { copy, constants: marked } = numbered(fn);
    const code = compile(copy);
    const fixed = marked.filter((one) => one.fixed).map(({ number }) => [number, constants[number]!] as const);
    this.#known.delete(text);
    this.#known.set(text, [{ code, fixed }, ...entries].slice(0, MAX_ENTRIES));
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= MAX_TEXTS) break;
      this.#known.delete(oldest);
    }
    return code;
  }
}
