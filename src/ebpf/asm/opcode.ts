/**
 * The opcode byte of an eBPF instruction (Documentation/bpf/standardization/instruction-set.rst):
 *
 *     arithmetic and jumps          loads and stores
 *     7      4   3   2    0         7    5  4  3 2    0
 *     +-------+---+-------+         +------+----+------+
 *     | code  | s | class |         | mode |size| class|
 *     +-------+---+-------+         +------+----+------+
 */
export const Class = {
  LD: 0x00,
  LDX: 0x01,
  ST: 0x02,
  STX: 0x03,
  ALU: 0x04,
  JMP: 0x05,
  JMP32: 0x06,
  ALU64: 0x07,
} as const;

/** Whether the second operand is the immediate or a register. */
export const Source = { IMM: 0x00, REG: 0x08 } as const;

export const Size = { W: 0x00, H: 0x08, B: 0x10, DW: 0x18 } as const;

export const Mode = { IMM: 0x00, MEM: 0x60, ATOMIC: 0xc0 } as const;

export const Alu = {
  add: 0x00,
  sub: 0x10,
  mul: 0x20,
  div: 0x30,
  or: 0x40,
  and: 0x50,
  lsh: 0x60,
  rsh: 0x70,
  neg: 0x80,
  mod: 0x90,
  xor: 0xa0,
  mov: 0xb0,
  arsh: 0xc0,
  end: 0xd0,
} as const;

export const Jump = {
  ja: 0x00,
  eq: 0x10,
  gt: 0x20,
  ge: 0x30,
  set: 0x40,
  ne: 0x50,
  sgt: 0x60,
  sge: 0x70,
  call: 0x80,
  exit: 0x90,
  lt: 0xa0,
  le: 0xb0,
  slt: 0xc0,
  sle: 0xd0,
} as const;

/** The immediate of an atomic instruction; `FETCH` makes it return the old value. */
export const Atomic = { add: 0x00, or: 0x40, and: 0x50, xor: 0xa0, xchg: 0xe1, cmpxchg: 0xf1, FETCH: 0x01 } as const;

/** The source register of a wide load or call says what its immediate stands for (`BPF_PSEUDO_*`). */
export const Pseudo = { MAP_FD: 1, MAP_VALUE: 2, FUNC: 4, CALL: 1, KERNEL_CALL: 2 } as const;

export type AluName = Exclude<keyof typeof Alu, 'mov' | 'end' | 'neg'>;
export type CompareName = Exclude<keyof typeof Jump, 'ja' | 'call' | 'exit'>;
export type AtomicName = Exclude<keyof typeof Atomic, 'FETCH'>;
export type ByteSize = 1 | 2 | 4 | 8;

export const LD_IMM64 = Class.LD | Mode.IMM | Size.DW;

export function sizeCode(bytes: ByteSize): number {
  return { 1: Size.B, 2: Size.H, 4: Size.W, 8: Size.DW }[bytes];
}

export function sizeBytes(opcode: number): ByteSize {
  return ({ [Size.B]: 1, [Size.H]: 2, [Size.W]: 4, [Size.DW]: 8 } as const)[(opcode & 0x18) as 0];
}
