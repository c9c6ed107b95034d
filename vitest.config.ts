import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { ownMounts } from './test/support/own-mounts.ts';

/** Tests leave the host's cache of programs alone. */
const env = { SEAWALL_CACHE: fileURLToPath(new URL('node_modules/.cache/seawall', import.meta.url)) };
/** Two files at a time: more would only take the cores from one another. Timeouts are for what hangs, on a machine that is busy as well. */
const shared = {
  env,
  setupFiles: ['test/support/setup.ts'],
  testTimeout: 300_000,
  hookTimeout: 300_000,
  maxWorkers: 2,
};

export default defineConfig({
  test: {
    globalSetup: 'test/support/say-what-is-skipped.ts',
    projects: [
      { test: { ...shared, name: 'unit', include: ['src/**/*.test.ts', 'lab/**/*.test.ts', 'scripts/*.test.ts'] } },
      { test: { ...shared, name: 'types', include: ['test/types/*.test.ts'] } },
      { test: { ...shared, name: 'kernel', include: ['test/kernel/*.test.ts'], pool: ownMounts } },
      { test: { ...shared, name: 'lab', include: ['test/lab/*.test.ts'], pool: ownMounts } },
    ],
  },
});
