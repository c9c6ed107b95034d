import { afterAll, beforeAll, expect, it } from 'vitest';
import { flood } from '../../lab/flood.ts';
import { LAB_INTERFACE, labDown, labUp, namespaceOf, server } from '../../lab/topology.ts';
import { protect, type ProtectedInterface, PolicyError } from '../../src/index.ts';
import { describeAsRoot } from '../support/as-root.ts';

const LAB = 'seawall-protect';
const there = namespaceOf(server, LAB);
const guard = (limits = {}): ProtectedInterface => there.run(() => protect(LAB_INTERFACE, limits));
const send = (seconds: number, rate: number, sources: 'one' | 'random' | number = 'one'): number =>
  flood({ seconds, rate, sources, lab: LAB }).sent;

describeAsRoot('protect', () => {
  beforeAll(() => {
    labDown(LAB);
    labUp(LAB);
  });
  afterAll(() => {
    labDown(LAB);
  });

  it('counts what passed and what was dropped, and why', () => {
    using protection = guard({ rate: '1/h' });
    const sent = send(0.5, 1000);
    const { reasons, drop, lostEvents } = protection.stats();
    expect(reasons['within-limit']).toBe(5n);
    expect(reasons['over-limit']).toBe(BigInt(sent) - 5n);
    expect([drop, lostEvents]).toEqual([reasons['over-limit'], 0n]);
  });

  it('changes the limits while frames come, and sources keep their state', () => {
    using protection = guard({ rate: '1/h', burst: 5 });
    send(0.2, 1000);
    protection.update({ rate: '1/h', burst: 7 });
    send(0.2, 1000);
    expect(protection.limits.burst).toBe(7);
    expect(protection.stats().reasons['within-limit']).toBe(7n);
    protection.update({ rate: '1/h', burst: 7, maxSources: 1000 }); // a new memory: everyone begins anew
    send(0.2, 1000);
    expect(protection.stats().reasons['within-limit']).toBe(14n);
    expect(() => protection.update({ burst: 0 })).toThrow(PolicyError);
    expect(protection.limits.burst).toBe(7);
  });

  it('tells of each SYN while somebody reads, and of none otherwise', async () => {
    const protection = guard({ rate: '1/h' });
    send(0.2, 1000);
    const seen: string[] = [];
    const reading = (async (): Promise<void> => {
      for await (const { source, destinationPort, reason, tokensLeft } of protection.events()) {
        seen.push(`${source} ${String(destinationPort)} ${reason} ${String(tokensLeft)}`);
      }
    })();
    await new Promise((resolve) => setImmediate(resolve));
    const sent = send(0.05, 1000);
    await new Promise((resolve) => setTimeout(resolve, 0));
    const deadline = Date.now() + 5000;
    while (seen.length < sent && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
    protection[Symbol.dispose]();
    await reading;
    expect(seen).toHaveLength(sent);
    expect(new Set(seen)).toEqual(new Set(['198.18.0.1 80 over-limit 0']));
  });

  it('remembers a bounded number of sources, whatever comes', () => {
    using protection = guard({ maxSources: 1024 });
    const sent = send(0.5, 100_000, 'random');
    const { reasons } = protection.stats();
    // The limit of a limit per source: nearly every forged address finds a full bucket.
    expect(Number(reasons['within-limit'])).toBeGreaterThan(sent * 0.9);
  });
});
