import { readFileSync } from 'node:fs';
import { arrayMap, Program, type ProgramSpec, struct, tickNanoseconds, u64, XDP, xdp } from '../ebpf/index.ts';
import { type Clock, kernelClock, tickClock } from '../dataplane/state/clock.ts';
import { DiskCache } from './cache.ts';

const Reading = struct('reading', { ticks: u64, time: u64 });
const readingMap = arrayMap('reading', { value: Reading, maxEntries: 1 });
const BOOT_ID = '/proc/sys/kernel/random/boot_id';
/** Written where it is asked for, which is once a boot. */
const read = (): ProgramSpec =>
  xdp('read_clocks', ($) => {
    $.at(readingMap, 0).set({ ticks: $.call('jiffies64'), time: $.ktimeGetNs() });
    return XDP.PASS;
  });
const READINGS = 5;

/**
 * The clock of this host, coarse by the kernel's tick counter, which a program reads without a call. Ticks are counted by CLOCK_MONOTONIC
 * (`tick_do_update_jiffies64`, kernel/time/tick-sched.c), so how far the two lie apart stays as it is measured here. A tick is taken off, so
 * that the coarse clock is never ahead.
 */
export function hostClock(cache = new DiskCache()): Clock {
  const tick = tickNanoseconds();
  if (tick === undefined) return kernelClock;
  // Measured once a boot: two measurements differ by parts of a tick, and so would the programs.
  const key = `clock of boot ${readFileSync(BOOT_ID, 'latin1').trim()}`;
  const known = cache.read(key);
  if (known !== undefined) return tickClock(tick, BigInt(known));
  const offset = measureOffset(tick);
  cache.write(key, String(offset));
  return tickClock(tick, offset);
}

/** What to add to the time of the ticks to get the monotonic clock. */
function measureOffset(tick: bigint): bigint {
  using program = Program.load(read());
  const frame = new Uint8Array(64);
  let nearest: bigint | undefined;
  for (let reading = 0; reading < READINGS; reading++) {
    program.testRun({ data: frame });
    const { ticks, time } = program.map(readingMap).lookup(0)!;
    const apart = time - ticks * tick;
    if (nearest === undefined || apart < nearest) nearest = apart;
  }
  return nearest! - tick;
}
