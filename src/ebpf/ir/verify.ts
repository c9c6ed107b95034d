import { DslError } from '../errors.ts';
import {
  type Address,
  type Block,
  eachUse,
  FIRST_VREG,
  type IrFunction,
  type Op,
  opDef,
  successors,
  type Terminator,
  type VReg,
} from './ir.ts';

/** Registers that carry arguments of a call (r1 to r5). */
const MAX_ARGUMENTS = 5;

/** How many parameters a function of the program has, if it has such a function. */
export type ParametersOf = (callee: string) => number | undefined;

/**
 * Checks the assumptions of every pass: blocks end and their targets exist, every register that is read has been written on every path, constants fit
 * their widths, pointers are not used as numbers, slots exist.
 * @throws DslError that names the block, the operation and the author's line: a fault of the toolkit, not of the author.
 */
export function verifyFunction(fn: IrFunction, parameters: ParametersOf): void {
  new Verifier(fn, parameters).verify();
}

class Verifier {
  readonly #fn: IrFunction;
  readonly #parameters: ParametersOf;
  readonly #blocks = new Map<number, Block>();
  /** The kind of value in a register that only one kind of operation writes. */
  readonly #pointers = new Map<VReg, 'map' | 'function' | 'memory'>();

  constructor(fn: IrFunction, parameters: ParametersOf) {
    this.#fn = fn;
    this.#parameters = parameters;
  }

  verify(): void {
    for (const block of this.#fn.blocks) {
      if (this.#blocks.has(block.id)) this.#fail(block, undefined, 'two blocks have this number');
      this.#blocks.set(block.id, block);
    }
    const reached = this.#reached();
    for (const block of reached) {
      for (const op of block.ops) {
        if (op.op === 'map' || op.op === 'function') this.#pointers.set(op.dst, op.op);
        else if (op.op === 'frame' || op.op === 'mapValue') this.#pointers.set(op.dst, 'memory');
      }
    }
    for (const block of reached) {
      for (const op of block.ops) this.#checkOp(block, op);
      this.#checkEnd(block, block.end!);
    }
    this.#checkDefinitions(reached);
  }

  /** The blocks that paths come to; others are dropped before anything looks at them. */
  #reached(): Block[] {
    const entry = this.#fn.blocks[0];
    if (!entry) throw new DslError(`verify ${this.#fn.name}: it has no blocks`, this.#fn.site.location);
    const seen = new Set<Block>([entry]);
    for (const block of seen) {
      if (!block.end) this.#fail(block, undefined, 'it does not end');
      for (const id of successors(block.end)) {
        const next = this.#blocks.get(id);
        if (!next) this.#fail(block, block.end, `there is no block ${String(id)} to go to`);
        seen.add(next);
      }
    }
    return this.#fn.blocks.filter((block) => seen.has(block));
  }

  #checkOp(block: Block, op: Op): void {
    const fail = (what: string): never => this.#fail(block, op, what);
    const def = opDef(op);
    if (def !== undefined && (def < FIRST_VREG || def >= this.#fn.nextVReg)) {
      fail(`it writes v${String(def)}, which is no register of the function`);
    }
    switch (op.op) {
      case 'alu': {
        this.#checkConstant(block, op, op.a, op.width);
        this.#checkConstant(block, op, op.b, op.width);
        const shifts = op.alu === 'lsh' || op.alu === 'rsh' || op.alu === 'arsh';
        if (shifts && typeof op.b === 'bigint' && (op.b < 0n || op.b >= BigInt(op.width))) {
          fail(`a shift by ${String(op.b)} in ${String(op.width)} bits`);
        }
        const moves = op.width === 64 && (op.alu === 'add' || op.alu === 'sub');
        if (!moves) this.#refusePointers(block, op, [op.a, op.b]);
        return;
      }
      case 'truncate':
        return this.#refusePointers(block, op, [op.src]);
      case 'swap':
        return this.#refusePointers(block, op, [op.a]);
      case 'load':
        return this.#checkAddress(block, op, op.from, op.size);
      case 'store':
      case 'atomic':
        this.#checkConstant(block, op, op.src, op.size * 8);
        return this.#checkAddress(block, op, op.to, op.size);
      case 'frame':
        return this.#checkAddress(block, op, { base: { slot: op.slot }, offset: op.offset }, 0);
      case 'function':
        if (this.#parameters(op.callee) === undefined) fail(`there is no function ${op.callee}`);
        return;
      case 'call':
      case 'kernelCall':
      case 'invoke': {
        if (op.args.length > MAX_ARGUMENTS) fail(`${String(op.args.length)} arguments, and registers for five`);
        if (op.op !== 'invoke') return;
        const wanted = this.#parameters(op.callee);
        if (wanted === undefined) fail(`there is no function ${op.callee}`);
        if (wanted !== op.args.length) {
          fail(`${op.callee} takes ${String(wanted)} arguments, ${String(op.args.length)} given`);
        }
      }
    }
  }

  #checkEnd(block: Block, end: Terminator): void {
    if (end.op !== 'branch') return;
    this.#checkConstant(block, end, end.a, end.width);
    this.#checkConstant(block, end, end.b, end.width);
    if (end.width === 32) this.#refusePointers(block, end, [end.a, end.b]);
  }

  /** A constant, signed or unsigned, has to fit its operation. */
  #checkConstant(block: Block, op: Op | Terminator, operand: VReg | bigint, bits: number): void {
    if (typeof operand !== 'bigint' || (operand >= 0n && operand < 0x8000_0000n && bits >= 32)) return;
    if (operand >= 1n << BigInt(bits) || operand < -(1n << BigInt(bits - 1))) {
      this.#fail(block, op, `${String(operand)} does not fit ${String(bits)} bits`);
    }
  }

  #refusePointers(block: Block, op: Op | Terminator, operands: readonly (VReg | bigint)[]): void {
    for (const operand of operands) {
      if (typeof operand === 'number' && this.#pointers.has(operand)) {
        this.#fail(block, op, `v${String(operand)} is a pointer, where a number is wanted`);
      }
    }
  }

  #checkAddress(block: Block, op: Op, { base, offset }: Address, size: number): void {
    if (typeof base === 'number') {
      const held = this.#pointers.get(base) ?? 'memory';
      if (held !== 'memory') this.#fail(block, op, `v${String(base)} is a ${held}, not memory`);
      return;
    }
    const slotSize = this.#fn.frame[base.slot];
    if (slotSize === undefined) this.#fail(block, op, `there is no slot ${String(base.slot)}`);
    if (offset < 0 || offset + size > Math.ceil(slotSize / 8) * 8) {
      this.#fail(block, op, `byte ${String(offset)} of slot ${String(base.slot)}, which has ${String(slotSize)}`);
    }
  }

  /** Whether every register that is read has been written on every path to there. */
  #checkDefinitions(reached: readonly Block[]): void {
    // Most registers live in one block. Only those that are read before their block writes them go around the graph.
    const numbers = new Map<VReg, number>();
    const firsts: { block: Block; op: Op | Terminator; register: VReg }[] = [];
    const written = new Map<Block, VReg[]>();
    const read = (block: Block, op: Op | Terminator, register: VReg): void => {
      if (!numbers.has(register)) numbers.set(register, numbers.size);
      firsts.push({ block, op, register });
    };
    /** The block, counted from 1, that a register was last met in. */
    const known: number[] = [];
    let round = 0;
    for (const block of reached) {
      round++;
      const here: VReg[] = [];
      const write = (register: VReg): void => {
        if (known[register] === round) return;
        known[register] = round;
        here.push(register);
      };
      if (block === this.#fn.blocks[0]) this.#fn.params.forEach(write);
      for (const op of block.ops) {
        eachUse(op, (register) => {
          if (known[register] !== round) read(block, op, register);
          write(register); // once a block is enough
        });
        const def = opDef(op);
        if (def !== undefined) write(def);
      }
      const end = block.end!;
      eachUse(end, (register) => {
        if (known[register] !== round) read(block, end, register);
        write(register);
      });
      written.set(block, here);
    }
    const entry = reached[0]!;
    const words = Math.ceil(numbers.size / 32);
    const atStart = new Map<Block, Uint32Array>(reached.map((block) => [block, new Uint32Array(words).fill(-1)]));
    atStart.get(entry)!.fill(0);
    const adds = new Map<Block, Uint32Array>();
    for (const block of reached) {
      const bits = new Uint32Array(words);
      for (const register of written.get(block)!) {
        const at = numbers.get(register);
        if (at !== undefined) bits[at >> 5]! |= 1 << (at & 31);
      }
      adds.set(block, bits);
    }
    // A register that is read before any write counts as written after that read: the read itself is refused below.
    for (let changed = true; changed;) {
      changed = false;
      for (const block of reached) {
        const [start, added] = [atStart.get(block)!, adds.get(block)!];
        for (const id of successors(block.end)) {
          const next = atStart.get(this.#blocks.get(id)!)!;
          for (let word = 0; word < words; word++) {
            const met = next[word]! & (start[word]! | added[word]!);
            if (met >>> 0 === next[word]) continue;
            next[word] = met;
            changed = true;
          }
        }
      }
    }
    for (const { block, op, register } of firsts) {
      const at = numbers.get(register)!;
      if (((atStart.get(block)![at >> 5]! >>> (at & 31)) & 1) === 0) {
        this.#fail(block, op, `v${String(register)} is read, and not every path to here has written it`);
      }
    }
  }

  #fail(block: Block, op: Op | Terminator | undefined, what: string): never {
    const where = op ? `block ${String(block.id)}, ${op.op}` : `block ${String(block.id)}`;
    throw new DslError(`verify ${this.#fn.name}: ${where}: ${what}`, (op?.site ?? this.#fn.site).location);
  }
}
