/**
 * `npm run bench -- stalls`: how long this machine stands still by itself. A process that does nothing but look at the clock, on each core in
 * turn, before all others: where the clock leaps, the core was somebody else's, mostly the hypervisor's. The 256 slots of a veth ring are full after a
 * quarter of a millisecond at a million frames a second, so that longer leaps cost frames whatever the program does.
 */
import { cpus, constants, setPriority } from 'node:os';
import { pinToCpu } from '../src/ebpf/index.ts';
import { round } from './statistics.ts';

const SECONDS = 4;
const RING_MS = 0.256;

export interface Stalls {
  readonly cpu: number;
  /** Leaps of the clock that are longer than the ring lasts. */
  readonly leaps: number;
  /** The share of the time that they took beyond that, in per cent: of frames that would have been lost. */
  readonly lostPercent: number;
  readonly longestMs: number;
}

export function measureStalls(): Stalls[] {
  setPriority(constants.priority.PRIORITY_HIGHEST);
  return cpus().map((_, cpu) => {
    pinToCpu(cpu);
    const start = performance.now();
    let [last, leaps, lost, longest] = [start, 0, 0, 0];
    while (last - start < SECONDS * 1000) {
      const now = performance.now();
      const gap = now - last;
      last = now;
      if (gap <= RING_MS) continue;
      leaps++;
      lost += gap - RING_MS;
      longest = Math.max(longest, gap);
    }
    return { cpu, leaps, lostPercent: round(lost / (SECONDS * 10)), longestMs: round(longest) };
  });
}
