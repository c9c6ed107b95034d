import { afterAll, beforeAll, expect, it } from 'vitest';
import { flood } from '../../lab/flood.ts';
import { LAB_INTERFACE, labDown, labUp, namespaceOf, server } from '../../lab/topology.ts';
import { type PolicyInput, protect, type ProtectedInterface, PolicyError } from '../../src/index.ts';
import { describeAsRoot } from '../support/as-root.ts';

const LAB = 'seawall-protect';
const there = namespaceOf(server, LAB);
const guard = (policy: PolicyInput): ProtectedInterface => there.run(() => protect(LAB_INTERFACE, policy));
/** One source may send five SYNs and then one an hour; what exceeds it is dropped. */
const hourly = (burst = 5): PolicyInput => ({
  challenge: { mode: 'off' },
  limits: { source: { rate: '1/h', burst }, service: false },
});
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
    using protection = guard(hourly());
    const sent = send(0.5, 1000);
    const { reasons, drop, lostEvents } = protection.stats();
    expect(reasons['within-limit']).toBe(5n);
    expect(reasons['over-source']).toBe(BigInt(sent) - 5n);
    expect([drop, lostEvents]).toEqual([reasons['over-source'], 0n]);
  });

  it('changes the limits while frames come, and sources keep their state', () => {
    const protection = guard(hourly());
    send(0.2, 1000);
    there.run(() => {
      protection.update(hourly(7));
    });
    send(0.2, 1000);
    expect(protection.policy.services[0]!.limits.source!.burst).toBe(7);
    expect(protection.stats().reasons['within-limit']).toBe(7n);
    expect(() => {
      protection.update({ limits: { source: { rate: '1/h', burst: 0 } } });
    }).toThrow(PolicyError);
    expect(protection.policy.services[0]!.limits.source!.burst).toBe(7);
    protection[Symbol.dispose]();
  });

  it('tells of each SYN while somebody reads, and of none otherwise', async () => {
    const protection = guard(hourly());
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
    expect(new Set(seen)).toEqual(new Set(['198.18.0.1 80 over-source 0']));
  });

  it('stops random sources at the limit of the service', () => {
    using protection = guard({ challenge: { mode: 'off' }, limits: { service: { rate: '100/s', burst: 100 } } });
    const sent = send(0.5, 100_000, 'random');
    const { reasons } = protection.stats();
    expect(Number(reasons['within-limit'])).toBeLessThan(200);
    expect(Number(reasons['over-service'])).toBeGreaterThan(sent * 0.98);
  });
});
