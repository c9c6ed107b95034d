/** From process start to attached, with and without the cache of programs, and from a changed policy to its program in force. Has a cache of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { labDown, labUp, LAB_INTERFACE, namespaceOf, server } from '../lab/topology.ts';
import { protect } from '../src/index.ts';
import { resolvePolicy } from '../src/policy/policy.ts';
import { checkPolicy } from '../src/tools/check.ts';
import { median, round } from './statistics.ts';

const LAB = 'seawall-bench';
const RUNS = 11;
const RELOADS = 50;
/** Reloads before it is measured: a running protection is warm. */
const WARM_UP = 10;

export interface Startup {
  /** From process start to attached, with the programs in the cache. */
  readonly attachedMs: number;
  /** The same with an empty cache. */
  readonly firstTimeMs: number;
  /** From a changed policy to its program in force, in a warm process: 95 of 100 take no longer. */
  readonly reloadMs: number;
  /** Instructions that the verifier walked, both programs together. */
  readonly verified: number;
  readonly nodeAloneMs: number;
  readonly runs: number;
  readonly reloads: number;
}

/** Milliseconds until a process in the server's namespace prints its first line, and the line. */
async function firstLine(args: readonly string[]): Promise<{ ms: number; line: string }> {
  const start = performance.now();
  const child = namespaceOf(server, LAB).run(() =>
    spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] }),
  );
  const lines = createInterface({ input: child.stdout });
  const [line] = (await once(lines, 'line')) as [string];
  const ms = performance.now() - start;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
  return { ms, line };
}

/** Changes the policy of a running protection again and again, to one that was not there before; milliseconds each. */
function measureReloads(): number[] {
  return namespaceOf(server, LAB).run(() => {
    using protection = protect(LAB_INTERFACE);
    const times: number[] = [];
    for (let index = 0; index < WARM_UP + RELOADS; index++) {
      const start = performance.now();
      protection.update({ limits: { source: { rate: '20/s', burst: 1000 + index } } });
      if (index >= WARM_UP) times.push(performance.now() - start);
    }
    return times;
  });
}

export async function startup(): Promise<Startup> {
  const cli = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
  const cache = mkdtempSync(join(tmpdir(), 'seawall-bench-'));
  const before = process.env['SEAWALL_CACHE'];
  process.env['SEAWALL_CACHE'] = cache;
  labUp(LAB);
  try {
    const [first, attached, alone]: [number[], number[], number[]] = [[], [], []];
    const run = [cli, 'run', '-i', LAB_INTERFACE];
    for (let index = 0; index < RUNS; index++) {
      rmSync(cache, { recursive: true, force: true });
      first.push((await firstLine(run)).ms);
      attached.push((await firstLine(run)).ms);
      alone.push((await firstLine(['-e', 'console.log(0); setTimeout(() => {}, 1000)'])).ms);
    }
    const { programs } = checkPolicy(resolvePolicy(), undefined);
    const reloads = measureReloads().toSorted((a, b) => a - b);
    return {
      attachedMs: round(median(attached), 1),
      firstTimeMs: round(median(first), 1),
      reloadMs: round(reloads[Math.ceil(reloads.length * 0.95) - 1]!, 1),
      verified: programs.reduce((sum, { verified }) => sum + verified, 0),
      nodeAloneMs: round(median(alone), 1),
      runs: RUNS,
      reloads: reloads.length,
    };
  } finally {
    labDown(LAB);
    rmSync(cache, { recursive: true, force: true });
    if (before === undefined) delete process.env['SEAWALL_CACHE'];
    else process.env['SEAWALL_CACHE'] = before;
  }
}
