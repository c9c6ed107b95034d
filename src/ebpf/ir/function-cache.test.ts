import fc from 'fast-check';
import { expect, it } from 'vitest';
import { emitProgram, randomProgram } from '../../../test/support/random-program.ts';
import { arrayMap, type CompiledCode, FunctionCache, type ProgramSpec, u64, xdp, XDP } from '../language.ts';
import { withoutSites } from '../source-location.ts';
import { compileFunctions } from './compile.ts';
import type { IrFunction, Op, Terminator } from './ir.ts';

const cell = arrayMap('cell', { value: u64, maxEntries: 1 });

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
    if (!('b' in op) || typeof op.b !== 'bigint' || op.b < 2n || op.b > 0xffffn || pick() % 2 === 0) return op;
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
