import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** Tests leave the host's cache of programs alone. */
const env = { SEAWALL_CACHE: fileURLToPath(new URL('node_modules/.cache/seawall', import.meta.url)) };
const shared = { env, setupFiles: ['test/support/setup.ts'], testTimeout: 60_000, hookTimeout: 60_000 };

export default defineConfig({
  test: {
    globalSetup: 'test/support/say-what-is-skipped.ts',
    // Namespaces, pinned objects and two cores are shared: kernel and lab tests run one file after the other.
    projects: [
      { test: { ...shared, name: 'unit', include: ['src/**/*.test.ts', 'lab/**/*.test.ts', 'scripts/*.test.ts'] } },
      { test: { ...shared, name: 'types', include: ['test/types/*.test.ts'] } },
      { test: { ...shared, name: 'kernel', include: ['test/kernel/*.test.ts'], fileParallelism: false } },
      {
        test: { ...shared, name: 'lab', include: ['test/lab/*.test.ts'], fileParallelism: false, testTimeout: 120_000 },
      },
    ],
  },
});
