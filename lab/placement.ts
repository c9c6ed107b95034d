/** Which core does what, so that an overload of one is not mistaken for a failure of the protection. */
import { readdirSync, readFileSync } from 'node:fs';
import { constants, cpus, setPriority } from 'node:os';
import { execFileSync } from 'node:child_process';
import { pinToCpu } from '../src/ebpf/index.ts';
import type { Netns } from './netns.ts';
import { LAB_INTERFACE } from './topology.ts';

/** The sending side has the first core, the receiving side the last. */
export const SENDING_CPU = 0;
export const RECEIVING_CPU = cpus().length - 1;

/** Writes a file of a host's interface in /sys. @throws Error where it cannot be written. */
export function setInterface(netns: Netns, file: string, value: string): void {
  // Only inside a mount namespace of its own does /sys show the interfaces of another network namespace.
  const script = `echo ${value} > /sys/class/net/${LAB_INTERFACE}/${file}`;
  execFileSync('ip', ['netns', 'exec', netns.name, 'sh', '-c', script], { stdio: 'ignore' });
}

/** Lets the receiving interface's packets be handled by a kernel thread, and keeps that on its core. Returns whether it could. */
export function threadReceive(netns: Netns): boolean {
  try {
    setInterface(netns, 'threaded', '1');
  } catch {
    return false; // a kernel before 5.12, or without threaded NAPI
  }
  const threads = napiThreads();
  for (const thread of threads) {
    pinToCpu(RECEIVING_CPU, thread);
    // On a host the driver's interrupt comes before processes; a thread would wait for its turn while its ring overflows.
    setPriority(thread, constants.priority.PRIORITY_HIGHEST);
  }
  return threads.length > 0;
}

function napiThreads(): number[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith(`napi/${LAB_INTERFACE}`);
      } catch {
        return false; // it ended meanwhile
      }
    })
    .map(Number);
}

/** Jiffies that a CPU was busy and in all, since boot (proc(5)). */
export function cpuTimes(cpu: number): { busy: number; total: number } {
  const line =
    readFileSync('/proc/stat', 'utf8')
      .split('\n')
      .find((row) => row.startsWith(`cpu${String(cpu)} `)) ?? '';
  const times = line.split(/\s+/).slice(1, 9).map(Number);
  const total = times.reduce((sum, time) => sum + time, 0);
  return { busy: total - (times[3] ?? 0) - (times[4] ?? 0), total };
}
