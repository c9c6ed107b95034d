import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';

it('the whole tree type-checks, wrong uses are refused, and the examples fit the API', () => {
  const check = (): string =>
    execFileSync('npx', ['tsc', '-p', 'tsconfig.json'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  expect(check).not.toThrow();
});
