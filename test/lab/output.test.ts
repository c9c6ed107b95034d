import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const CLI = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));

/** Runs a shell line in which $S is the command line; the status is that of the command line. */
function shell(line: string): { readonly status: number | null; readonly stderr: string } {
  const { status, stderr } = spawnSync('bash', ['-c', `set -o pipefail; S="${process.execPath} ${CLI}"; ${line}`], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status, stderr };
}

it.each([
  ['$S --help | true; exit ${PIPESTATUS[0]}', /^(0|141)$/, 0],
  ['$S --help > /dev/full', /^4$/, 1],
  ['$S run --help > /dev/full', /^4$/, 1],
  ['$S --help >&-', /^0$/, 0],
  ['$S nonsense 2>&-', /^2$/, 0],
  ['$S nonsense 2> /dev/full', /^2$/, 0],
  ['$S check /dev/zero', /^2$/, 1],
  ['mkfifo /tmp/seawall-fifo-$$ && $S check /tmp/seawall-fifo-$$; s=$?; rm /tmp/seawall-fifo-$$; exit $s', /^2$/, 1],
  ["$S $'\\e[2J'", /^2$/, 1],
])('%s ends with the right status, at most one line and no stack', (line, status, lines) => {
  const result = shell(line);
  expect(String(result.status)).toMatch(status);
  expect(result.stderr.split('\n').filter((row) => row !== '')).toHaveLength(lines);
  expect(result.stderr).not.toMatch(/^ {4}at /m);
  expect(result.stderr).not.toContain('\u001b');
});
