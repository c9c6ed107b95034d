import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type Backend, DslError, Program } from '../../src/ebpf/index.ts';
import { describeAsRoot } from '../support/as-root.ts';
import {
  emitProgram,
  evaluateProgram,
  FRAME_SIZE,
  memory,
  type Outcome,
  outputMap,
  randomProgram,
  wordsMap,
} from '../support/random-program.ts';

/** How many programs; `npm run fuzz` sets it. */
const RUNS = Number(process.env['FUZZ_RUNS'] ?? 300);

function runInKernel(program: ReturnType<typeof emitProgram>, backend: Backend, frame: Uint8Array): Outcome {
  using loaded = Program.load(program, { backend });
  const { verdict, data } = loaded.testRun({ data: frame });
  const words = loaded.map(wordsMap).lookup(0)!;
  const kept = program.maps.includes(memory) ? [...loaded.map(memory).entries()] : [];
  return {
    verdict,
    frame: data.toString('hex'),
    output: program.maps.includes(outputMap) ? [...loaded.map(outputMap).lookup(0)!.values] : [],
    w32: words.w32,
    w64: words.w64,
    table: [...words.table],
    memory: kept.toSorted(([a], [b]) => a - b),
  };
}

/** Undefined for the few programs that need more frame than there is: the naive back end keeps every value there. */
function unlessTooLarge(run: () => Outcome): Outcome | undefined {
  try {
    return run();
  } catch (error) {
    if (error instanceof DslError && / bytes( together)? and the kernel allows 512/.test(error.message))
      return undefined;
    throw error;
  }
}

describeAsRoot('compiler', () => {
  it(
    `agrees with plain TypeScript on ${String(RUNS)} random programs, through both back ends`,
    () => {
      let judged = 0;
      fc.assert(
        fc.property(
          fc.integer(),
          fc.integer({ min: 1, max: 24 }),
          fc.uint8Array({ minLength: FRAME_SIZE, maxLength: FRAME_SIZE }),
          (seed, size, frame) => {
            const program = randomProgram(seed, size);
            const expected = evaluateProgram(program, frame);
            const spec = emitProgram(program);
            for (const backend of ['optimizing', 'naive'] as const) {
              const actual = unlessTooLarge(() => runInKernel(spec, backend, frame));
              if (!actual) continue;
              judged++;
              if (judged % 20_000 === 0) console.log(`${String(judged)} comparisons agree`);
              expect(actual, backend).toEqual(expected);
            }
          },
        ),
        // The same programs in every CI run, so that a red build is about the change; others everywhere else.
        { numRuns: RUNS, endOnFailure: true, ...(process.env['CI'] ? { seed: 20_261_123 } : {}) },
      );
      expect(judged).toBeGreaterThan(RUNS * 1.5);
    },
    24 * 3600_000,
  );
});
