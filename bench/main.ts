/** `npm run bench -- codegen|startup|ring|paths|capacity|lists|memory|reload|stalls [--json]` */
import { capacity } from './capacity.ts';
import { codegen } from './codegen.ts';
import { ring } from './ring.ts';
import { measureLists } from './lists.ts';
import { measureMemory } from './memory.ts';
import { measurePaths } from './paths.ts';
import { measureReloads } from './reload.ts';
import { measureStalls } from './stalls.ts';
import { startup } from './startup.ts';

const [name, ...options] = process.argv.slice(2);
const json = options.includes('--json');
const given = options.find((option) => /^\d+$/.test(option));
const count = given === undefined ? undefined : Number(given);

/** The C twins are not compiled to dist; they lie in the source tree. */
const TWINS = new URL('../../bench/clang', import.meta.url).pathname;

async function run(): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error('benchmarks load programs, which needs root');
  if (name === 'codegen') {
    const result = codegen(TWINS);
    if (json) console.log(JSON.stringify(result));
    else {
      console.log(result.clang);
      console.table(
        Object.fromEntries(
          result.programs.map(({ name: program, ours, clang, nsRatio, insnRatio }) => [
            program,
            {
              'ours ns': ours.ns,
              'clang ns': clang.ns,
              'ns ratio': nsRatio,
              'ours insns': ours.insns,
              'clang insns': clang.insns,
              'insn ratio': insnRatio,
            },
          ]),
        ),
      );
    }
  } else if (name === 'startup') {
    const result = await startup();
    console.log(
      json
        ? JSON.stringify(result)
        : `attached after ${String(result.attachedMs)} ms, the first time ${String(result.firstTimeMs)} ms; a changed policy in force after ${String(result.reloadMs)} ms (p95); node alone ${String(result.nodeAloneMs)} ms; ${String(result.verified)} instructions verified`,
    );
  } else if (name === 'paths') {
    const result = measurePaths(TWINS);
    if (json) console.log(JSON.stringify(result));
    else {
      console.table(result.rows);
      console.log({ ...result, rows: undefined });
    }
  } else if (name === 'capacity') {
    const rows = await capacity(TWINS, !options.includes('--no-clients'));
    if (json) console.log(JSON.stringify({ rows }));
    else
      console.table(
        rows.map(({ legit = [], ...row }) => ({
          ...row,
          ...Object.fromEntries(
            legit.map(({ rate, pool, office }) => [`${String(rate)}/s`, `${String(pool)} ${String(office)}`]),
          ),
        })),
      );
  } else if (name === 'reload') {
    console.log(JSON.stringify(await measureReloads(count ?? 200)));
  } else if (name === 'stalls') {
    console.log(JSON.stringify(measureStalls()));
  } else if (name === 'memory') {
    console.log(JSON.stringify(measureMemory(count ?? 1_000_000_000)));
  } else if (name === 'lists') {
    console.log(JSON.stringify(measureLists()));
  } else if (name === 'ring') {
    console.log(JSON.stringify(await ring()));
  } else {
    throw new Error('usage: npm run bench -- codegen|startup|ring|paths|capacity|lists|memory|reload|stalls [--json]');
  }
}

try {
  await run();
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
