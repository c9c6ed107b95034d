import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import type * as Challengers from '../../src/dataplane/cookie/challenger.ts';
import type * as Pipeline from '../../src/dataplane/pipeline.ts';
import type * as Clock from '../../src/dataplane/state/clock.ts';
import type * as Toolkit from '../../src/ebpf/index.ts';
import type { Compiled } from '../../src/engine/load-programs.ts';
import type * as Shipped from '../../src/engine/shipped-functions.ts';
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
    worker.postMessage({ interfaceName: 'nosuch0', policy: resolvePolicy() });
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

it('a start with the default policy finds its functions compiled, whatever the numbers of its host are', async () => {
  const load = async <T>(path: string): Promise<T> => (await import(`${ROOT}dist/src/${path}`)) as T;
  const { protection } = await load<typeof Pipeline>('dataplane/pipeline.js');
  const { tickClock } = await load<typeof Clock>('dataplane/state/clock.js');
  const { DEFAULT_STACK } = await load<typeof Challengers>('dataplane/cookie/challenger.js');
  const { FunctionCache, knownImage } = await load<typeof Toolkit>('ebpf/index.js');
  const { shippedFunctions } = await load<typeof Shipped>('engine/shipped-functions.js');
  const functions = new FunctionCache();
  functions.learn(shippedFunctions());
  for (const [windowScale, largest] of [
    [7, 6 << 20],
    [10, 32 << 20],
  ] as const) {
    const listener = { mptcp: 1000, keys: [1008], buffer: 200, locks: 204, clamp: 208, ratio: 212, largest };
    const fields = { listener, timeWaitNext: 216, acceptQueue: { length: 220, limit: 224 } };
    const { write } = protection(resolvePolicy(), {
      clock: tickClock(1_000_000n, -0x1234_5678_9abcn),
      challenger: {
        form: 'assign',
        forms: { cookie: 'assign' },
        stack: { ...DEFAULT_STACK, windowScale, ...fields },
        resetsOthers: true,
      },
    });
    expect(knownImage(write.program, functions)).toBeDefined();
    expect(knownImage(write.accept!, functions)).toBeDefined();
  }
});
