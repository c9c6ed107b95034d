import { describe } from 'vitest';

const isRoot = process.getuid?.() === 0;

/** A group of tests that need root. Without it they are skipped, and say so; in CI that is a failure. */
export function describeAsRoot(name: string, tests: () => void): void {
  if (isRoot) describe(name, tests);
  else if (process.env['CI']) throw new Error(`${name}: these tests need root, and CI must not skip them`);
  else describe.skip(`${name} (skipped: needs root)`, tests);
}
