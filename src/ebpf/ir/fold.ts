import type { AluName, CompareName } from '../asm/opcode.ts';
import type { Op, Terminator } from './ir.ts';

/** Calculates with constants as the kernel does: a division by zero gives 0, its remainder is the dividend; shifts wrap. */
export function foldAlu(alu: AluName, width: 32 | 64, a: bigint, b: bigint): bigint {
  const by = b & BigInt(width - 1);
  const results: Record<AluName, () => bigint> = {
    add: () => a + b,
    sub: () => a - b,
    mul: () => a * b,
    div: () => (b === 0n ? 0n : a / b),
    mod: () => (b === 0n ? a : a % b),
    or: () => a | b,
    and: () => a & b,
    xor: () => a ^ b,
    lsh: () => a << by,
    rsh: () => a >> by,
    arsh: () => BigInt.asIntN(width, a) >> by,
  };
  return BigInt.asUintN(width, results[alu]());
}

/** Compares constants as the kernel does. */
export function foldCompare(compare: CompareName, width: 32 | 64, a: bigint, b: bigint): boolean {
  const [sa, sb] = [BigInt.asIntN(width, a), BigInt.asIntN(width, b)];
  const results: Record<CompareName, boolean> = {
    eq: a === b,
    ne: a !== b,
    gt: a > b,
    ge: a >= b,
    lt: a < b,
    le: a <= b,
    set: (a & b) !== 0n,
    sgt: sa > sb,
    sge: sa >= sb,
    slt: sa < sb,
    sle: sa <= sb,
  };
  return results[compare];
}

const isShift = (alu: AluName): boolean => alu === 'lsh' || alu === 'rsh' || alu === 'arsh';

/** Settles what copies of constants made known. The verifier refuses a constant zero divisor or a shift beyond the width. */
export function foldOp(op: Op): Op {
  if (op.op !== 'alu' || typeof op.b !== 'bigint') return op;
  const { alu, width, dst, a, site, note } = op;
  const b = BigInt.asUintN(width, op.b);
  const mov = (src: typeof a): Op => ({ op: 'mov', dst, src, site, note });
  if (op.constant && typeof a === 'bigint') op.constant.fixed = true;
  if (typeof a === 'bigint') return mov(foldAlu(alu, width, BigInt.asUintN(width, a), b));
  if (alu === 'div' && b === 0n) return mov(0n);
  if (alu === 'mod' && b === 0n) return mov(a);
  if (b === 0n && (alu === 'add' || alu === 'sub' || alu === 'or' || alu === 'xor' || isShift(alu))) return mov(a);
  return isShift(alu) ? { ...op, b: b & BigInt(width - 1) } : op;
}

/** A branch between constants is a jump. */
export function foldBranch(end: Terminator): Terminator {
  if (end.op !== 'branch' || typeof end.a !== 'bigint' || typeof end.b !== 'bigint') return end;
  const { compare, width, site } = end;
  if (end.constant) end.constant.fixed = true;
  const holds = foldCompare(compare, width, BigInt.asUintN(width, end.a), BigInt.asUintN(width, end.b));
  return { op: 'jump', to: holds ? end.then : end.otherwise, site };
}
