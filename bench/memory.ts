/** `npm run bench -- memory [COUNT]`: what the kernel holds for a protection before and after so many forged sources. */
import { readFileSync } from 'node:fs';
import { XdpLink } from '../src/ebpf/index.ts';
import { client, LAB_INTERFACE, labDown, labUp, namespaceOf } from '../lab/topology.ts';
import { challengedRandom } from './paths.ts';

const LAB = 'seawall-memory';
const CHUNK = 10_000_000;

export interface MemoryResult {
  readonly sources: number;
  /** Bytes of all maps, as the kernel accounts them. */
  readonly before: number;
  readonly after: number;
  /** What slab and per-CPU memory of the whole machine grew by meanwhile, in bytes; anybody's. */
  readonly kernelGrewBy: number;
  readonly seconds: number;
}

function kernelMemory(): number {
  const text = readFileSync('/proc/meminfo', 'utf8');
  const kilobytes = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0);
  return (kilobytes('Slab') + kilobytes('Percpu')) * 1024;
}

/** Sends so many SYNs, each from another random address, through the default policy, which answers them with cookies. */
export function measureMemory(count: number): MemoryResult {
  labUp(LAB, { bare: true });
  try {
    using loaded = challengedRandom();
    using _link = namespaceOf(client, LAB).run(() => XdpLink.attach(loaded.program, LAB_INTERFACE));
    const [before, kernelBefore, start] = [loaded.mapBytes(), kernelMemory(), performance.now()];
    for (let left = count; left > 0; left -= CHUNK)
      loaded.program.testRun({ data: loaded.data, repeat: Math.min(left, CHUNK) });
    return {
      sources: count,
      before,
      after: loaded.mapBytes(),
      kernelGrewBy: kernelMemory() - kernelBefore,
      seconds: Math.round((performance.now() - start) / 1000),
    };
  } finally {
    labDown(LAB);
  }
}
