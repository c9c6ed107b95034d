import { FRAME_POINTER, type Instruction, instruction } from '../asm/instruction.ts';
import { Alu, Atomic, Class, type CompareName, Jump, LD_IMM64, Mode, Pseudo, sizeCode, Source } from '../asm/opcode.ts';
import type { Address, Block, IrFunction, Op, Operand, Replaceable, Terminator, VReg } from './ir.ts';
import type { MachineBlock, MachineEnd, MachineFunction } from './machine.ts';

type Emit = (opcode: number, fields?: Partial<Omit<Instruction, 'opcode'>>) => void;

const fitsSigned32 = (value: bigint): boolean => BigInt.asIntN(32, value) === value;
const signed64 = (value: bigint): bigint => BigInt.asIntN(64, value);
const low32 = (value: bigint): number => Number(BigInt.asIntN(32, value));

/** Turns operations over three registers into instructions over two, and makes the calling convention explicit. */
export function selectInstructions(fn: IrFunction): MachineFunction {
  const selector = new Selector(fn.nextVReg);
  const blocks = fn.blocks.map((block, index) => selector.block(block, index === 0 ? fn.params : []));
  return { name: fn.name, blocks, frame: [...fn.frame], nextVReg: selector.nextVReg };
}

class Selector {
  nextVReg: number;
  #insns: Instruction[] = [];

  constructor(nextVReg: number) {
    this.nextVReg = nextVReg;
  }

  block(block: Block, params: readonly VReg[]): MachineBlock {
    this.#insns = [];
    params.forEach((param, index) => {
      this.#insns.push(instruction(Class.ALU64 | Alu.mov | Source.REG, { dst: param, src: index + 1 }));
    });
    for (const op of block.ops) this.#op(op);
    if (!block.end) throw new Error(`select instructions: block b${String(block.id)} has no end`);
    const end = this.#end(block.end);
    return { id: block.id, depth: block.depth, insns: this.#insns, end };
  }

  #emitter({ site, note }: Op | Terminator): Emit {
    return (opcode, fields) => this.#insns.push(instruction(opcode, { site, note, ...fields }));
  }

  #constant(emit: Emit, dst: VReg, value: bigint, constant?: Replaceable): void {
    const wide = signed64(value);
    if (fitsSigned32(wide)) emit(Class.ALU64 | Alu.mov, { dst, imm: Number(wide) });
    else if (wide >= 0n && wide <= 0xffff_ffffn) emit(Class.ALU | Alu.mov, { dst, imm: low32(wide) });
    else emit(LD_IMM64, { dst, wide, ...replaced(constant) });
  }

  #move(emit: Emit, dst: VReg, src: Operand): void {
    if (typeof src === 'bigint') this.#constant(emit, dst, src);
    else emit(Class.ALU64 | Alu.mov | Source.REG, { dst, src });
  }

  /** The operand in a register. */
  #register(emit: Emit, operand: Operand, constant?: Replaceable): VReg {
    if (typeof operand === 'number') return operand;
    const register = this.nextVReg++;
    this.#constant(emit, register, operand, constant);
    return register;
  }

  /** The second operand of an arithmetic instruction or a jump, as an immediate where it fits. */
  #second(
    emit: Emit,
    operand: Operand,
    width: 32 | 64,
    constant: Replaceable | undefined,
  ): Pick<Instruction, 'src' | 'imm' | 'constant'> & { readonly source: number } {
    if (typeof operand === 'bigint') {
      if (width === 32) return { source: Source.IMM, src: 0, imm: low32(operand), ...replaced(constant) };
      if (fitsSigned32(signed64(operand)))
        return { source: Source.IMM, src: 0, imm: Number(signed64(operand)), ...replaced(constant) };
    }
    return { source: Source.REG, src: this.#register(emit, operand, constant), imm: 0 };
  }

  #address(emit: Emit, { base, offset }: Address): { base: number; offset: number; slot?: number } {
    if (typeof base !== 'number') return { base: FRAME_POINTER, offset, slot: base.slot };
    if (offset >= -0x8000 && offset <= 0x7fff) return { base, offset };
    const place = this.nextVReg++;
    this.#move(emit, place, base);
    emit(Class.ALU64 | Alu.add, { dst: place, imm: offset });
    return { base: place, offset: 0 };
  }

  #alu(emit: Emit, { alu, width, dst, a, b, constant }: Op & { op: 'alu' }): void {
    const commutes = alu === 'add' || alu === 'and' || alu === 'or' || alu === 'xor' || alu === 'mul';
    const [left, right] = commutes && (b === dst || typeof a === 'bigint') ? [b, a] : [a, b];
    const { source, ...second } = this.#second(emit, right, width, constant);
    const { src } = second;
    const target = source === Source.REG && src === dst && left !== dst ? this.nextVReg++ : dst;
    if (target !== left) this.#move(emit, target, left);
    emit((width === 64 ? Class.ALU64 : Class.ALU) | Alu[alu] | source, {
      dst: target,
      ...second,
    });
    if (target !== dst) this.#move(emit, dst, target);
  }

  #op(op: Op): void {
    const emit = this.#emitter(op);
    switch (op.op) {
      case 'mov':
        return this.#move(emit, op.dst, op.src);
      case 'truncate':
        return emit(Class.ALU | Alu.mov | Source.REG, { dst: op.dst, src: op.src });
      case 'alu':
        return this.#alu(emit, op);
      case 'swap':
        this.#move(emit, op.dst, op.a);
        return emit(Class.ALU | Alu.end | Source.REG, { dst: op.dst, imm: op.bits });
      case 'load': {
        const { base, ...at } = this.#address(emit, op.from);
        return emit(Class.LDX | Mode.MEM | sizeCode(op.size), {
          dst: op.dst,
          src: base,
          ...at,
          ...replaced(op.constant),
        });
      }
      case 'store':
        return this.#store(emit, op.size, op.to, op.src);
      case 'atomic':
        return this.#atomic(emit, op);
      case 'frame':
        emit(Class.ALU64 | Alu.mov | Source.REG, { dst: op.dst, src: FRAME_POINTER });
        return emit(Class.ALU64 | Alu.add, { dst: op.dst, imm: op.offset, slot: op.slot });
      case 'map':
        return emit(LD_IMM64, { dst: op.dst, src: Pseudo.MAP_FD, map: op.map });
      case 'mapValue':
        return emit(LD_IMM64, { dst: op.dst, src: Pseudo.MAP_VALUE, map: op.map, imm: op.offset });
      case 'function':
        return emit(LD_IMM64, { dst: op.dst, src: Pseudo.FUNC, callee: op.callee });
      case 'call':
        return this.#call(emit, op.args, op.dst, { imm: op.helper });
      case 'kernelCall':
        return this.#call(emit, op.args, op.dst, { kernelFunction: op.name });
      case 'invoke':
        return this.#call(emit, op.args, op.dst, { callee: op.callee });
    }
  }

  #store(emit: Emit, size: 1 | 2 | 4 | 8, to: Address, src: Operand): void {
    const { base, ...at } = this.#address(emit, to);
    if (typeof src === 'bigint' && (size < 8 || fitsSigned32(signed64(src)))) {
      return emit(Class.ST | Mode.MEM | sizeCode(size), { dst: base, ...at, imm: low32(src) });
    }
    return emit(Class.STX | Mode.MEM | sizeCode(size), { dst: base, src: this.#register(emit, src), ...at });
  }

  #atomic(emit: Emit, op: Op & { op: 'atomic' }): void {
    const { base, ...at } = this.#address(emit, op.to);
    const opcode = Class.STX | Mode.ATOMIC | sizeCode(op.size);
    if (op.kind === 'cmpxchg') {
      const src = this.#register(emit, op.src);
      this.#move(emit, 0, op.expected ?? 0n);
      emit(opcode, { dst: base, src, ...at, imm: Atomic.cmpxchg });
      if (op.dst !== undefined) this.#move(emit, op.dst, 0);
    } else if (op.dst === undefined && op.kind !== 'xchg') {
      emit(opcode, { dst: base, src: this.#register(emit, op.src), ...at, imm: Atomic[op.kind] });
    } else {
      const inOut = op.dst ?? this.nextVReg++;
      this.#move(emit, inOut, op.src);
      emit(opcode, { dst: base, src: inOut, ...at, imm: Atomic[op.kind] | Atomic.FETCH });
    }
  }

  #call(emit: Emit, args: readonly Operand[], dst: VReg | undefined, target: Partial<Instruction>): void {
    args.forEach((arg, index) => this.#move(emit, index + 1, arg));
    emit(Class.JMP | Jump.call, { ...target, parameters: args.length });
    if (dst !== undefined) this.#move(emit, dst, 0);
  }

  #end(end: Terminator): MachineEnd {
    const emit = this.#emitter(end);
    switch (end.op) {
      case 'jump':
        return { kind: 'jump', to: end.to, site: end.site };
      case 'exit':
        this.#move(emit, 0, end.value);
        return { kind: 'exit', insn: instruction(Class.JMP | Jump.exit, { site: end.site, note: end.note }) };
      case 'branch': {
        const { compare, width, a, b, constant } = end;
        const dst = this.#register(emit, a);
        const { source, ...second } = this.#second(emit, b, width, constant);
        const opcode = jumpClass(compare, width, b) | Jump[compare] | source;
        const test = instruction(opcode, { dst, ...second, site: end.site, note: end.note });
        return { kind: 'branch', test, then: end.then, otherwise: end.otherwise };
      }
    }
  }
}

const replaced = (constant: Replaceable | undefined): Pick<Instruction, 'constant'> =>
  constant ? { constant: constant.number } : {};

/**
 * Narrow values have zeros above them, so the 64-bit jump says the same for unsigned comparisons, and older verifiers
 * learn more from it; an immediate that would be sign-extended, and a signed comparison, need the 32-bit one.
 */
function jumpClass(compare: CompareName, width: 32 | 64, b: Operand): number {
  if (width === 64) return Class.JMP;
  const signedCompare = compare === 'sgt' || compare === 'sge' || compare === 'slt' || compare === 'sle';
  const extended = typeof b === 'bigint' && (b < 0n || b > 0x7fff_ffffn);
  return signedCompare || extended ? Class.JMP32 : Class.JMP;
}
