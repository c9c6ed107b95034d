import {
  be16,
  be32,
  bytes,
  lruHash,
  type MapSpec,
  perCpuArray,
  arrayMap,
  ringBuffer,
  struct,
  u32,
  u64,
  u8,
} from '../ebpf/language.ts';
import { reasons } from './reason.ts';

/**
 * A source's token bucket in one word: the time until which its SYNs are paid for (the theoretical arrival time of GCRA,
 * ITU-T I.371). `seen` is when its last SYN came, kept only while somebody reads events, and decides nothing.
 */
export const Source = struct('source', { paidUntil: u64, seen: u64 });

/** What the program tells of a SYN. Times are the program's clock; `before` and `after` are `paidUntil` around this SYN. */
export const SynEvent = struct('syn_event', {
  time: u64,
  before: u64,
  after: u64,
  seen: u64,
  saddr: be32,
  daddr: be32,
  source: be16,
  dest: be16,
  reason: u8,
  pad: bytes(3),
});

/** What user space tells the program: whether anybody reads events. */
export const Control = struct('control', { readers: u32 });

/** Counters: the reasons, and behind them the same again for what would have happened in a dry run. */
export const COUNTERS = reasons.length * 2;

const EVENT_BUFFER = 1 << 20;

/** The maps of one protected interface. */
export interface ProtectionMaps {
  readonly sources: MapSpec<typeof be32, typeof Source, false>;
  readonly counters: MapSpec<typeof u32, typeof u64, true>;
  readonly control: MapSpec<typeof u32, typeof Control, false>;
  readonly events: ReturnType<typeof ringBuffer>;
}

export function protectionMaps(maxSources: number): ProtectionMaps {
  return {
    sources: lruHash('sources', { key: be32, value: Source, maxEntries: maxSources }),
    counters: perCpuArray('counters', { value: u64, maxEntries: COUNTERS }),
    control: arrayMap('control', { value: Control, maxEntries: 1, mmap: true }),
    events: ringBuffer('events', { size: EVENT_BUFFER }),
  };
}
