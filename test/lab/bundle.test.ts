import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import type { Compiled } from '../../src/engine/load-programs.ts';
import { resolvePolicy } from '../../src/policy/policy.ts';

const cache = mkdtempSync(join(tmpdir(), 'seawall-bundle-'));
afterAll(() => {
  rmSync(cache, { recursive: true });
});
const files = () =>
  readdirSync(cache).map((name) => ({ path: join(cache, name), size: statSync(join(cache, name)).size }));
const ROOT = fileURLToPath(new URL('../../', import.meta.url));

it('the bundle compiles the same programs, under the same key, with lines of TypeScript outside the toolkit', async () => {
  const compiled: Compiled[] = [];
  for (const path of ['dist/src/engine/compile-worker.js', 'dist/src/cli/bundle/compile-worker.js']) {
    // The host's clock is measured once; the programs are compiled by each.
    for (const { path: kept, size } of files()) if (size > 10_000) rmSync(kept);
    const worker = new Worker(ROOT + path, { env: { ...process.env, SEAWALL_CACHE: cache } });
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has none
    worker.postMessage({ interfaceName: 'lo', policy: resolvePolicy() });
    const [message] = (await once(worker, 'message')) as [Compiled];
    compiled.push(message);
    await worker.terminate();
  }
  const [alone, bundled] = compiled;
  expect(bundled!.key).toBe(alone!.key);
  const images = ({ text }: Compiled) =>
    (JSON.parse(text) as string[]).map((image) => JSON.parse(image) as { readonly binary: Record<string, string> });
  const [ours, theirs] = [images(alone!), images(bundled!)];
  expect(theirs.map(({ binary }) => binary['insns'])).toEqual(ours.map(({ binary }) => binary['insns']));
  const strings = theirs.flatMap(({ binary }) => Buffer.from(binary['btf']!, 'base64').toString('latin1').split('\0'));
  const sources = new Set(strings.filter((text) => /\.[jt]s$/.test(text)));
  expect(sources).toContain(`${ROOT}src/dataplane/pipeline.ts`);
  for (const file of sources) expect(file).toMatch(/\/src\/(dataplane|net)\/.*\.ts$/);
});
