/** How the ring buffer's reader fares: the price of a record, the wait until it wakes, and what it costs while nothing comes. */
import { Program, ringBuffer, RingBuffer, struct, u64, XDP, xdp } from '../src/ebpf/index.ts';
import { median, round } from './statistics.ts';

const Record = struct('record', { a: u64, b: u64, c: u64, d: u64 });
const records = ringBuffer('records', { size: 1 << 20 });
const BATCH = 16_384;
const ROUNDS = 50;
const IDLE_MS = 3000;
/** What a reader without readiness would do. */
const TIMER_MS = 10;

const writer = xdp('writer', ($) => {
  const now = $.ktimeGetNs();
  $.record(records, Record, (record) => {
    record.set({ a: now, b: now, c: now, d: now });
  });
  return XDP.PASS;
});

export interface RingResult {
  readonly recordBytes: number;
  readonly nsPerRecord: number;
  readonly wakeUs: number;
  readonly idleCpuUsPerSecond: { readonly readiness: number; readonly timerOf10ms: number };
}

async function sleep(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

/** Microseconds of CPU time a second while nothing happens. */
async function idleCost(): Promise<number> {
  const before = process.cpuUsage();
  await sleep(IDLE_MS);
  const { user, system } = process.cpuUsage(before);
  return round(((user + system) * 1000) / IDLE_MS, 0);
}

export async function ring(): Promise<RingResult> {
  using program = Program.load(writer);
  using reader = new RingBuffer(program.map(records), program.map(records.lost));
  const data = new Uint8Array(64);
  const drains: number[] = [];
  let sum = 0;
  for (let index = 0; index < ROUNDS; index++) {
    program.testRun({ data, repeat: BATCH });
    const start = process.hrtime.bigint();
    const count = reader.drain((memory, offset) => {
      sum += memory[offset]!;
    });
    drains.push(Number(process.hrtime.bigint() - start) / count);
  }
  if (sum === 0 || reader.lost > 0n) throw new Error('measure ring buffer: records are missing');

  const wakes: number[] = [];
  for (let index = 0; index < ROUNDS; index++) {
    const start = await new Promise<bigint>((resolve) => {
      let sent = 0n;
      reader.watch(() => {
        reader.watch(undefined);
        resolve(sent);
      });
      setImmediate(() => {
        sent = process.hrtime.bigint();
        program.testRun({ data });
      });
    });
    wakes.push(Number(process.hrtime.bigint() - start) / 1000);
    reader.drain(() => {});
  }

  reader.watch(() => {});
  const readiness = await idleCost();
  reader.watch(undefined);
  const timer = setInterval(() => reader.drain(() => {}), TIMER_MS);
  const timerOf10ms = await idleCost();
  clearInterval(timer);
  return {
    recordBytes: Record.size,
    nsPerRecord: round(median(drains), 1),
    wakeUs: round(median(wakes), 1),
    idleCpuUsPerSecond: { readiness, timerOf10ms },
  };
}
