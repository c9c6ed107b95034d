import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import type { Challenger } from '../../src/dataplane/cookie/challenger.ts';
import { commonHosts } from '../../src/dataplane/cookie/common-hosts.ts';
import type * as Pipeline from '../../src/dataplane/pipeline.ts';
import type * as Clock from '../../src/dataplane/state/clock.ts';
import type * as Toolkit from '../../src/ebpf/index.ts';
import { settleChallenger } from '../../src/engine/challenger.ts';
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

/** The same with other numbers in the place of all that may differ between hosts that have the same limits. */
function elsewhere({ stack, ...rest }: Challenger): Challenger {
  const { largest, keys, ...offsets } = stack.listener!;
  const other = Object.fromEntries(Object.keys(offsets).map((name, index) => [name, 200 + 4 * index]));
  const listener = { ...offsets, ...other, keys: keys.map((_key, index) => 1000 + 8 * index), largest };
  return { ...rest, stack: { ...stack, listener, timeWaitNext: 216, acceptQueue: { length: 220, limit: 224 } } };
}

it('a start with the default policy finds its functions compiled, whatever the numbers of its host are', async () => {
  const load = async <T>(path: string): Promise<T> => (await import(`${ROOT}dist/src/${path}`)) as T;
  const { protection } = await load<typeof Pipeline>('dataplane/pipeline.js');
  const { tickClock } = await load<typeof Clock>('dataplane/state/clock.js');
  const { FunctionCache, knownImage } = await load<typeof Toolkit>('ebpf/index.js');
  const { shippedFunctions } = await load<typeof Shipped>('engine/shipped-functions.js');
  const functions = new FunctionCache();
  functions.learn(shippedFunctions());
  for (const host of commonHosts) {
    const clock = tickClock(1_000_000n, -0x1234_5678_9abcn);
    const { write } = protection(resolvePolicy(), { clock, challenger: elsewhere(host) });
    expect(knownImage(write.program, functions)).toBeDefined();
    expect(knownImage(write.accept!, functions)).toBeDefined();
  }
});

it('this host is one of the common ones, but for its numbers', () => {
  const shape = (host: Challenger | undefined): unknown =>
    JSON.parse(JSON.stringify(host, (_name, value: unknown) => (typeof value === 'number' ? 0 : value)));
  expect(shape(settleChallenger(resolvePolicy(), 'nosuch0').challenger)).toEqual(shape(commonHosts[0]));
});
