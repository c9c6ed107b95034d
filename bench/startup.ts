/** From process start to attached, in a network namespace of its own; and what of it is generating and loading. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { labDown, labUp, LAB_INTERFACE, namespaceOf, server } from '../lab/topology.ts';
import { median, round } from './statistics.ts';

const LAB = 'seawall-bench';
const RUNS = 11;

export interface Startup {
  readonly attachedMs: number;
  readonly generateAndLoadMs: number;
  readonly nodeAloneMs: number;
  readonly runs: number;
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

export async function startup(): Promise<Startup> {
  const cli = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
  const probe = fileURLToPath(new URL('./startup-probe.js', import.meta.url));
  labUp(LAB);
  try {
    const [attached, loads, alone]: [number[], number[], number[]] = [[], [], []];
    for (let index = 0; index < RUNS; index++) {
      attached.push((await firstLine([cli, 'run', '-i', LAB_INTERFACE])).ms);
      loads.push(Number((await firstLine([probe])).line));
      alone.push((await firstLine(['-e', 'console.log(0); setTimeout(() => {}, 1000)'])).ms);
    }
    return {
      attachedMs: round(median(attached), 1),
      generateAndLoadMs: round(median(loads), 1),
      nodeAloneMs: round(median(alone), 1),
      runs: RUNS,
    };
  } finally {
    labDown(LAB);
  }
}
