import fc from 'fast-check';
import { expect, it } from 'vitest';
import { emitProgram, randomProgram } from '../../../test/support/random-program.ts';
import {
  arrayMap,
  bytes,
  type CompiledCode,
  FunctionCache,
  type ProgramSpec,
  struct,
  u8,
  u64,
  xdp,
  XDP,
} from '../language.ts';
import { withoutSites } from '../source-location.ts';
import { compileFunctions } from './compile.ts';
import type { KnownFunction } from './function-cache.ts';
import { formatFunctions, parseFunctions } from './function-text.ts';
import type { IrFunction, Op, Terminator } from './ir.ts';

const cell = arrayMap('cell', { value: u64, maxEntries: 1 });

/** A byte behind so many others. */
const bytesAt = (offset: number) => struct('frame', { before: bytes(offset), value: u8, after: bytes(60 - offset) });

const limiter = (limit: number, price: number): ProgramSpec =>
  xdp('limiter', ($) => {
    const owed = $.let($.at(cell, 0).value);
    $.if(owed.gt(limit), () => XDP.DROP);
    $.at(cell, 0).set({ value: owed.add(price) });
    return XDP.PASS;
  });

const code = ({ insns, functions }: CompiledCode): unknown => [
  insns.map(({ site: _site, note: _note, constant: _constant, ...insn }) => insn),
  functions.map(({ name, slot }) => [name, slot]),
];
const alone = ({ functions }: ProgramSpec): unknown => code(compileFunctions(functions, 'optimizing'));
const cached = (cache: FunctionCache, { functions }: ProgramSpec): unknown =>
  code(compileFunctions(functions, 'optimizing', cache));

/** Whether a program is compiled without a compiler. */
function isKnown(cache: FunctionCache, write: () => ProgramSpec): boolean {
  try {
    withoutSites(() => compileFunctions(write().functions, 'optimizing', cache));
    return true;
  } catch {
    return false;
  }
}

it('has a function that differs in a limit and a price', () => {
  const cache = new FunctionCache();
  cached(cache, limiter(100, 7));
  expect(isKnown(cache, () => limiter(200, 9))).toBe(true);
  expect(cached(cache, limiter(200, 9))).toEqual(alone(limiter(200, 9)));
});

it('lacks one whose numbers are encoded otherwise, or mean nothing', () => {
  const cache = new FunctionCache();
  cached(cache, limiter(100, 7));
  for (const [limit, price] of [
    [2 ** 31, 7],
    [2 ** 32, 7],
    [100, 0],
    [100, 2 ** 40],
    [0, 7],
  ] as const) {
    expect(isKnown(cache, () => limiter(limit, price))).toBe(false);
    expect(cached(cache, limiter(limit, price))).toEqual(alone(limiter(limit, price)));
  }
});

it('has one that differs in a number of 64 bits, or in where it loads from', () => {
  const far = (price: bigint, byte: number): ProgramSpec =>
    xdp('far', ($, packet) => {
      const frame = packet.take(bytesAt(byte)).orExit(XDP.PASS);
      $.at(cell, 0).set({ value: frame.value.u64().add(price) });
      return XDP.PASS;
    });
  const cache = new FunctionCache();
  cached(cache, far(BigInt.asUintN(64, -(1n << 54n)), 6));
  for (const [price, byte] of [
    [-(1n << 53n) - 12_345n, 6],
    [1n << 62n, 12],
    [-(1n << 31n) - 1n, 40],
  ] as const) {
    expect(isKnown(cache, () => far(BigInt.asUintN(64, price), byte))).toBe(true);
    expect(cached(cache, far(BigInt.asUintN(64, price), byte))).toEqual(alone(far(BigInt.asUintN(64, price), byte)));
  }
  for (const price of [1n << 31n, 0xffff_ffffn, -1n, -(1n << 31n)])
    expect(isKnown(cache, () => far(BigInt.asUintN(64, price), 6))).toBe(false);
});

it('is the same read from text, in another folder', () => {
  const cache = new FunctionCache();
  cached(cache, limiter(100, 7));
  const read = new FunctionCache();
  read.learn(parseFunctions(formatFunctions(cache.known, '/'), '/elsewhere'));
  expect(isKnown(read, () => limiter(200, 9))).toBe(true);
  expect(cached(read, limiter(200, 9))).toEqual(alone(limiter(200, 9)));
  const [[, [known]]] = read.known as [[string, [KnownFunction]]];
  expect(known.code.site.location!.file).toBe(`/elsewhere${import.meta.filename}`);
  expect(known.code.insns.some(({ site }) => site?.location?.file === `/elsewhere${import.meta.filename}`)).toBe(true);
});

it('lacks one where a pass looked at the number', () => {
  const cache = new FunctionCache();
  const settled = (limit: number): ProgramSpec =>
    xdp('settled', ($) => {
      const owed = $.let($.at(cell, 0).value);
      $.if(owed.gt(50), () => {
        owed.set(60);
      });
      $.if(owed.gt(limit), () => XDP.DROP);
      return XDP.PASS;
    });
  cached(cache, settled(55));
  expect(cached(cache, settled(65))).toEqual(alone(settled(65)));
});

it('knows nothing that was not compiled with source lines', () => {
  const cache = new FunctionCache();
  expect(isKnown(cache, () => limiter(100, 7))).toBe(false);
  expect(cache.empty).toBe(true);
});

/** Other numbers in the place of some. */
function changed(fn: IrFunction, pick: () => number): IrFunction {
  const change = <T extends Op | Terminator>(op: T): T => {
    if (op.op === 'load' && typeof op.from.base === 'number' && pick() % 2 === 0)
      return { ...op, from: { ...op.from, offset: pick() % 40_000 } };
    if (!('b' in op) || typeof op.b !== 'bigint' || op.b < 2n || pick() % 2 === 0) return op;
    if (op.b > 0xffffn) return op.width === 64 ? { ...op, b: (BigInt(pick()) << 40n) + BigInt(pick()) } : op;
    const shift = op.op === 'alu' && /^(a?rsh|lsh)$/.test(op.alu);
    return { ...op, b: BigInt(shift ? pick() % 32 : pick() % 4000) };
  };
  const blocks = fn.blocks.map(({ ops, end, ...block }) => ({
    ...block,
    ops: ops.map(change),
    end: end && change(end),
  }));
  return { ...fn, blocks };
}

it('gives what compiling gives, for random programs with changed numbers', () => {
  fc.assert(
    fc.property(
      fc.integer(),
      fc.integer({ min: 1, max: 24 }),
      fc.infiniteStream(fc.nat(100_000)),
      (seed, size, numbers) => {
        const spec = emitProgram(randomProgram(seed, size));
        const cache = new FunctionCache();
        cached(cache, spec);
        for (let round = 0; round < 4; round++) {
          const functions = spec.functions.map((fn) => changed(fn, () => numbers.next().value as number));
          expect(cached(cache, { ...spec, functions })).toEqual(alone({ ...spec, functions }));
        }
      },
    ),
    { numRuns: 40 },
  );
});
