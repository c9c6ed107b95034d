/** `npm run bench -- reload [COUNT]`: reloads under a flood: how long each takes, and whether anybody who is real fails meanwhile. */
import { once } from 'node:events';
import type { Attempt } from '../lab/clients.ts';
import { client, LAB_INTERFACE, labDown, labUp, namespaceOf, server } from '../lab/topology.ts';
import { Workers } from '../lab/workers.ts';
import { protect } from '../src/index.ts';
import { median, round } from './statistics.ts';

const LAB = 'seawall-reloads';
const FLOOD = 100_000;
const PER_SECOND = 25;

export async function measureReloads(count: number): Promise<object> {
  const there = namespaceOf(server, LAB);
  const here = namespaceOf(client, LAB);
  labDown(LAB);
  labUp(LAB);
  using workers = new Workers();
  try {
    await workers.message(workers.start(there, './http-server.js', ['80']), 'HTTP server');
    using protection = there.run(() => protect(LAB_INTERFACE, {}));
    const times: number[] = [];
    const attempts: Attempt[] = [];
    let wentBack = 0;
    let before = protection.stats();
    // Clients and flood come in stretches, until all reloads are done.
    for (let done = 0; done < count;) {
      const seconds = 20;
      const options = { rate: FLOOD, sources: 'random', seconds: seconds + 4, lab: LAB };
      const flood = workers.start(here, './flooder.js', [JSON.stringify(options)]);
      const args = [`http://${server.ipv4}/`, PER_SECOND, seconds, 0].map(String);
      const finished = workers.message<Attempt[]>(workers.start(here, './clients.js', args), 'clients');
      const end = performance.now() + seconds * 1000;
      while (done < count && performance.now() < end) {
        const began = performance.now();
        there.run(() => {
          protection.update({ limits: { source: { rate: '1/s', burst: 5 + (done % 3) } } });
        });
        times.push(performance.now() - began);
        done++;
        const now = protection.stats();
        for (const [reason, value] of Object.entries(now.reasons))
          if (value < before.reasons[reason as keyof typeof before.reasons]) wentBack++;
        before = now;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      attempts.push(...(await finished));
      await once(flood, 'exit');
    }
    return {
      reloads: times.length,
      reloadMsMedian: round(median(times)),
      reloadMsWorst: round(Math.max(...times)),
      floodPps: FLOOD,
      connections: attempts.length,
      failed: attempts.filter(({ succeeded }) => !succeeded).length,
      countersThatWentBack: wentBack,
      challenged: Number(before.reasons.challenged),
    };
  } finally {
    labDown(LAB);
  }
}
