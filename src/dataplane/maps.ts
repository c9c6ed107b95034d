import {
  array,
  arrayMap,
  be16,
  bytes,
  type MapSpec,
  perCpuArray,
  ringBuffer,
  struct,
  u32,
  u64,
  u8,
} from '../ebpf/language.ts';
import type { Policy } from '../policy/policy.ts';
import { type ListCapacity, listMaps } from './stages/lists.ts';
import { reasons } from './outcome/reason.ts';
import { tickShifts } from './state/ticks.ts';
import { classMaps, serviceClasses } from './state/service-classes.ts';
import { differ, inlined, ServicePolicy } from './state/service-policy.ts';

/** Cells of a meter that share a cache line: each source has one of the first eight and one of the others. */
export const CELLS_PER_LINE = 16;

/**
 * A line of a meter. A cell is the theoretical arrival time of GCRA (ITU-T I.371) in ticks, modulo 2^32: the time until which
 * what came is paid for. A cell further ahead of the clock than a full bucket is one that the clock has overtaken, and empty.
 */
export const MeterLine = struct('meter_line', { cells: array(u32, CELLS_PER_LINE) });
export type MeterMap = MapSpec<typeof u32, typeof MeterLine, 'array'>;

/** A source that proved its address: a part of its hash, its own arrival time in ticks, and until when it counts (nanoseconds). */
export const VerifiedEntry = struct('verified', { tag: u32, paid: u32, until: u64 });
export const VERIFIED_WAYS = 4;
export const VerifiedLine = struct('verified_line', { entries: array(VerifiedEntry, VERIFIED_WAYS) });
/** Lines of verified sources: 262,144 sources in 4 MiB. */
export const VERIFIED_LINES = 1 << 16;

/** Secrets: random at the first start, kept across reloads. Four of two words for cookies, in turn, so that those not in use can change. */
export const Keys = struct('keys', {
  hashStart: u64,
  hashMultiplier: u64,
  hashFinish: u64,
  cookie: array(u64, 8),
});

/** A service under way, on a line of its own: its bucket in nanoseconds of GCRA, and until when all its SYNs are challenged. */
export const ServiceState = struct('service_state', { paid: u64, challengeUntil: u64, spare: bytes(48) });
/** A CPU's own part of it: tokens that it took from the bucket beforehand, and SYNs that it has not reported yet. */
export const ServiceShare = struct('service_share', { tokens: u32, pending: u32 });

/** Places where it is remembered for a moment whether somebody listens on an address and port. */
export const LISTENERS = 4096;

/** What several CPUs and both programs read often and write rarely: when a challenge was sent and a proof came last. */
export const Activity = struct('activity', { challengedUntil: u64, verifiedUntil: u64, spare: bytes(48) });

/** What the program tells of a SYN: who, for whom, when by its clock, what became of it, and how far its source's cell was ahead. */
export const SynEvent = struct('syn_event', {
  time: u64,
  source: array(u64, 2),
  destination: array(u64, 2),
  sourcePort: be16,
  destinationPort: be16,
  service: u32,
  /** Ticks, before and after this SYN. */
  before: u32,
  after: u32,
  reason: u8,
  family: u8,
  pad: bytes(6),
});

/** What user space tells the program: whether anybody reads events. */
export const Control = struct('control', { readers: u32 });

/** Counters: the reasons, and behind them the same again for what would have happened in a dry run. */
export const COUNTERS = reasons.length * 2;

const EVENT_BUFFER = 1 << 20;

/** One meter for sources, and one for each length of prefix. Cells of other ticks mean something else, so ticks are in the name. */
export function meterSpecs({ services, cells }: Policy): {
  readonly source: MeterMap;
  readonly prefixes: readonly MeterMap[];
} {
  const shifts = tickShifts(services);
  const meter = (name: string, shift: number): MeterMap =>
    // Mapped arrays begin on a page, so that no line straddles two of the cache's.
    arrayMap(`${name}_${String(shift)}`, { value: MeterLine, maxEntries: cells / CELLS_PER_LINE, mmap: true });
  return {
    source: meter('meter_src', shifts.source),
    prefixes: services[0]!.limits.prefixes.map(({ family, bits }, at) =>
      meter(`meter_v${String(family)}_${String(bits)}`, shifts.prefixes[at]!),
    ),
  };
}

export function protectionMaps(policy: Policy, capacity: ListCapacity) {
  const classes = inlined(policy) ? undefined : classMaps(serviceClasses(policy));
  return {
    classes,
    policies: differ(policy)
      ? arrayMap('policies', { value: ServicePolicy, maxEntries: policy.services.length })
      : undefined,
    lists: listMaps(capacity),
    meters: meterSpecs(policy),
    verified: arrayMap('verified', { value: VerifiedLine, maxEntries: VERIFIED_LINES, mmap: true }),
    keys: arrayMap('keys', { value: Keys, maxEntries: 1 }),
    services: arrayMap('services', { value: ServiceState, maxEntries: policy.services.length, mmap: true }),
    shares: perCpuArray('shares', { value: ServiceShare, maxEntries: policy.services.length }),
    activity: arrayMap('activity', { value: Activity, maxEntries: 1, mmap: true }),
    listeners: arrayMap('listeners', { value: u64, maxEntries: LISTENERS, mmap: true }),
    counters: perCpuArray('counters', { value: u64, maxEntries: COUNTERS }),
    control: arrayMap('control', { value: Control, maxEntries: 1, mmap: true }),
    events: ringBuffer('events', { size: EVENT_BUFFER }),
    budgets: perCpuArray('event_budgets', { value: u64, maxEntries: reasons.length }),
  };
}

/** The maps of one protected interface. */
export type ProtectionMaps = ReturnType<typeof protectionMaps>;
