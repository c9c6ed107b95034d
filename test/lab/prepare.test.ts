import { monitorEventLoopDelay } from 'node:perf_hooks';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { LAB_INTERFACE, labDown, labUp, namespaceOf, server } from '../../lab/topology.ts';
import type * as Package from '../../src/index.ts';
import { describeAsRoot } from '../support/as-root.ts';

// Threads cannot be started from TypeScript, so this is the built package.
const { protect } = (await import(new URL('../../dist/src/index.js', import.meta.url).href)) as typeof Package;

const LAB = 'seawall-prepare';
const there = namespaceOf(server, LAB);

describeAsRoot('a policy that is prepared', () => {
  beforeAll(() => {
    labDown(LAB);
    labUp(LAB);
  });
  afterAll(() => {
    labDown(LAB);
  });

  it('is compiled while timers keep firing, and then loaded', async () => {
    using protection = there.run(() => protect(LAB_INTERFACE));
    // A policy that no cache has.
    const policy = { limits: { source: { rate: '20/s', burst: 1000 + (Date.now() % 100_000) } } };
    using delay = watched();
    const start = performance.now();
    await there.run(() => protection.prepare(policy));
    const took = performance.now() - start;
    expect(delay.longestMs()).toBeLessThan(took / 4);
    const before = performance.now();
    there.run(() => {
      protection.update(policy);
    });
    expect(performance.now() - before).toBeLessThan(took);
    expect(protection.policy.services[0]!.limits.source!.burst).toBe(policy.limits.source.burst);
  });

  it('is given up where the protection ends', async () => {
    const protection = there.run(() => protect(LAB_INTERFACE));
    const prepared = there.run(() => protection.prepare({ limits: { source: { rate: '7/s', burst: 70_001 } } }));
    protection[Symbol.dispose]();
    await prepared;
  });
});

/** How late the event loop's timers are, until disposed of. */
function watched(): Disposable & { longestMs: () => number } {
  const histogram = monitorEventLoopDelay({ resolution: 5 });
  histogram.enable();
  return {
    longestMs: () => histogram.max / 1e6,
    [Symbol.dispose]: () => void histogram.disable(),
  };
}
