/** Reloads under a flood: nobody who is real fails, and no counter goes back. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Attempt } from '../../lab/clients.ts';
import { client, LAB_INTERFACE, labDown, labUp, namespaceOf, server } from '../../lab/topology.ts';
import { protect, type PolicyInput } from '../../src/index.ts';
import { describeAsRoot } from '../support/as-root.ts';

const LAB = 'seawall-reload';
const RELOADS = Number(process.env['RELOADS'] ?? 12);
const built = (path: string): string => fileURLToPath(new URL(`../../dist/${path}`, import.meta.url));

/** Policies that differ in the program. */
const policy = (index: number): PolicyInput => ({
  limits: { source: { rate: '1/s', burst: 5 + (index % 3) } },
  challenge: { mode: index % 4 === 3 ? 'always' : 'auto' },
  sanity: { zmap: index % 2 === 0 },
});

describeAsRoot('reload', () => {
  const there = namespaceOf(server, LAB);
  const here = namespaceOf(client, LAB);
  const start = (script: string, ...args: string[]) =>
    fork(built(script), args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  beforeAll(() => {
    labDown(LAB);
    labUp(LAB);
  });
  afterAll(() => {
    labDown(LAB);
  });

  it(`loses no legitimate connection in ${String(RELOADS)} reloads and more under a flood`, async () => {
    const http = there.run(() => start('lab/http-server.js', '80'));
    await once(http, 'message');
    const protection = there.run(() => protect(LAB_INTERFACE, policy(0)));
    // Clients and flood go on until they are told to stop; an hour is out of reach.
    const seconds = 3600;
    const flood = here.run(() =>
      start('lab/flooder.js', JSON.stringify({ rate: 50_000, sources: 'random', seconds, lab: LAB })),
    );
    const clients = here.run(() => start('lab/clients.js', `http://${server.ipv4}/`, '20', String(seconds), '0'));
    const attempts = once(clients, 'message');
    let before = protection.stats();
    // Long enough for a hundred connections, however fast reloads are.
    const enough = performance.now() + 8000;
    for (let index = 1; index <= RELOADS || performance.now() < enough; index++) {
      there.run(() => {
        protection.update(policy(index));
      });
      const now = protection.stats();
      for (const [reason, count] of Object.entries(now.reasons))
        expect(count).toBeGreaterThanOrEqual(before.reasons[reason as keyof typeof before.reasons]);
      before = now;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    clients.send('stop');
    const [results] = (await attempts) as [Attempt[]];
    expect(results.filter(({ succeeded }) => !succeeded)).toHaveLength(0);
    expect(results.length).toBeGreaterThan(100);
    expect(before.reasons.challenged).toBeGreaterThan(0n);
    flood.kill();
    protection[Symbol.dispose]();
    http.kill();
  }, 1_800_000);

  it('keeps the sysctls that the form kernel needs, and sets them back in the end', () => {
    const read = (): string =>
      ['tcp_syncookies', 'tcp_timestamps'].map((name) => there.readSysctl(`net.ipv4.${name}`)).join(' ');
    const before = read();
    expect(before).toMatch(/^[01] 1$/);
    const kernel = (burst: number): PolicyInput => ({
      challenge: { mode: 'always', form: 'kernel', 'set-sysctls': true },
      limits: { source: { rate: '1/s', burst } },
    });
    const protection = there.run(() => protect(LAB_INTERFACE, kernel(5)));
    expect(read()).toBe('2 2');
    there.run(() => {
      protection.update(kernel(6));
    });
    expect(read()).toBe('2 2');
    there.run(() => {
      protection.update({ challenge: { mode: 'off' } });
    });
    expect(read()).toBe(before);
    there.run(() => {
      protection.update(kernel(7));
      protection[Symbol.dispose]();
    });
    expect(read()).toBe(before);
  });

  it('keeps what is in force when a new policy cannot be', () => {
    using protection = there.run(() => protect(LAB_INTERFACE, policy(0)));
    expect(() => {
      there.run(() => {
        protection.update({ lists: { 'deny-files': ['/nowhere/deny.txt'] } });
      });
    }).toThrow(/lists\.deny-files\.0: read \/nowhere\/deny\.txt/);
    expect(protection.policy.lists.denyFiles).toEqual([]);
    expect(protection.attached).toBe(true);
  });
});
