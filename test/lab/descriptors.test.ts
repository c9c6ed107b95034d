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
const POLICY = join(directory, 'policy.toml');
writeFileSync(POLICY, '');
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
  const short: number[] = [];
  for (let descriptors = 3; ; descriptors += short.length < 8 ? 1 : 6) {
    const { status, stderr } = limited(descriptors, CLI, 'check', POLICY);
    if (status === 0) break;
    if (status !== 4 && limited(descriptors, EMPTY).status !== 0) continue; // Node aborts before it runs anything
    expect({ descriptors, status, stderr }).toEqual({
      descriptors,
      status: 4,
      stderr: expect.stringMatching(/^seawall: .*too many open files.* raise the limit .*\n$/),
    });
    short.push(descriptors);
  }
  // Node 20 starts from 19 on, and a protection has two dozen maps.
  expect(short.length).toBeGreaterThan(9);
});
