import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';

const CLI = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'seawall-descriptors-'));
const EMPTY = join(directory, 'empty.mjs');
writeFileSync(EMPTY, '');
afterAll(() => {
  rmSync(directory, { recursive: true });
});

/** Runs a module where so many descriptors may be open. */
function limited(descriptors: number, module: string, ...args: string[]): { status: number | null; stderr: string } {
  const line = `ulimit -c 0; ulimit -n ${String(descriptors)}; exec "$0" "$@"`;
  const { status, stderr } = spawnSync('bash', ['-c', line, process.execPath, module, ...args], { encoding: 'utf8' });
  return { status, stderr };
}

it('says in one line that descriptors run out, wherever Node itself gets so far as to run an empty module', () => {
  const started: number[] = [];
  for (let descriptors = 3; descriptors <= 60; descriptors += descriptors < 24 ? 1 : 3) {
    const { status, stderr } = limited(descriptors, CLI, 'run', '-i', 'lo');
    if (status !== 4 && limited(descriptors, EMPTY).status !== 0) continue; // Node aborts before it runs anything
    expect({ descriptors, status, stderr }).toEqual({
      descriptors,
      status: 4,
      stderr: expect.stringMatching(/^seawall: .*too many open files; raise the limit .*\n$/),
    });
    started.push(descriptors);
  }
  // Node 20 starts from 19 on.
  expect(started.length).toBeGreaterThan(10);
});
