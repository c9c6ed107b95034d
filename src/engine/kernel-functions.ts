/** The numbers of kernel functions, on disk: they are looked for once a boot. */
import { readFileSync } from 'node:fs';
import { type KernelFunctions, knownKernelFunctions, learnKernelFunctions } from '../ebpf/index.ts';
import { DiskCache } from './cache.ts';

const BOOT_ID = '/proc/sys/kernel/random/boot_id';

let kept: string | undefined;

const cacheKey = (): string => `kernel functions of boot ${readFileSync(BOOT_ID, 'latin1').trim()}`;

/** Takes over what another process found, the first time that it is asked. */
export function recallKernelFunctions(cache = new DiskCache()): void {
  if (kept !== undefined) return;
  kept = cache.read(cacheKey()) ?? '{}';
  learnKernelFunctions(JSON.parse(kept) as KernelFunctions);
}

/** Stores the numbers found since. */
export function keepKernelFunctions(cache = new DiskCache()): void {
  const known = JSON.stringify(knownKernelFunctions());
  if (known === kept) return;
  cache.write(cacheKey(), known);
  kept = known;
}
