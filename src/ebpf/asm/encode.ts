import { DslError } from '../errors.ts';
import { type Instruction, slots } from './instruction.ts';
import { LD_IMM64, Pseudo } from './opcode.ts';

/** Where a reference leads once objects exist: a map's descriptor, the slot where a function begins, a function of the kernel. */
export interface Resolution {
  mapDescriptor(name: string): number;
  functionSlot(name: string): number;
  /** The number of a kernel function in the kernel's BTF. */
  kernelFunction(name: string): number;
}

/** The slot number at which each instruction begins. */
export function slotOffsets(insns: readonly Instruction[]): number[] {
  let at = 0;
  return insns.map((insn) => {
    const here = at;
    at += slots(insn);
    return here;
  });
}

/** The wire form: 8 bytes a slot, little-endian (`struct bpf_insn`, linux/bpf.h). */
export function encode(insns: readonly Instruction[], resolution: Resolution): Buffer {
  const offsets = slotOffsets(insns);
  const total = (offsets.at(-1) ?? 0) + (insns.length > 0 ? slots(insns[insns.length - 1]!) : 0);
  const bytes = Buffer.alloc(total * 8);
  insns.forEach((insn, index) => {
    const slot = offsets[index]!;
    let { src, imm } = insn;
    let high = 0;
    if (insn.opcode === LD_IMM64) {
      if (insn.map !== undefined) {
        high = src === Pseudo.MAP_VALUE ? imm : 0;
        imm = resolution.mapDescriptor(insn.map);
      } else if (insn.callee !== undefined) {
        imm = resolution.functionSlot(insn.callee) - slot - 1;
      } else {
        const wide = BigInt.asUintN(64, insn.wide ?? 0n);
        imm = Number(BigInt.asIntN(32, wide));
        high = Number(BigInt.asIntN(32, wide >> 32n));
      }
    } else if (insn.callee !== undefined) {
      src = Pseudo.CALL;
      imm = resolution.functionSlot(insn.callee) - slot - 1;
    } else if (insn.kernelFunction !== undefined) {
      src = Pseudo.KERNEL_CALL;
      imm = resolution.kernelFunction(insn.kernelFunction);
    }
    const at = slot * 8;
    if (insn.offset < -0x8000 || insn.offset > 0x7fff) {
      throw new DslError(
        `encode program: a jump by ${String(insn.offset)} instructions does not fit 16 bits; split the program with func or tail calls`,
        insn.site?.location,
      );
    }
    bytes.writeUInt8(insn.opcode, at);
    bytes.writeUInt8((src << 4) | insn.dst, at + 1);
    bytes.writeInt16LE(insn.offset, at + 2);
    bytes.writeInt32LE(imm, at + 4);
    if (insn.opcode === LD_IMM64) bytes.writeInt32LE(high, at + 12);
  });
  return bytes;
}
