import type { Infer } from '../ebpf/language.ts';
import type { SynEvent } from '../dataplane/maps.ts';
import { type ReasonName, reasons, type VerdictName } from '../dataplane/reason.ts';
import { formatIpv4 } from '../net/address.ts';
import type { CheckedLimits } from '../policy/limits.ts';

/** What became of one SYN. */
export interface SynReport {
  /** Nanoseconds of the kernel's monotonic clock. */
  readonly time: bigint;
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
  /** Tokens in the bucket of the source after this SYN, of `burst`. */
  readonly tokensLeft: number;
  /** Tokens that came back since the SYN before. */
  readonly tokensRefilled: number;
  readonly verdict: VerdictName;
  readonly reason: ReasonName;
}

/** Whole tokens in a bucket that is paid until `paidUntil`, at a time. */
export function tokensAt(
  paidUntil: bigint,
  time: bigint,
  { interval, burst }: Pick<CheckedLimits, 'interval' | 'burst'>,
): number {
  const ahead = paidUntil > time ? paidUntil - time : 0n;
  const free = interval * BigInt(burst) - ahead;
  return free < 0n ? 0 : Number(free / interval);
}

export function synReport(event: Infer<typeof SynEvent>, limits: CheckedLimits): SynReport {
  const { time, before, after, seen } = event;
  const { name, verdict } = reasons[event.reason]!;
  const refilled = seen === 0n ? 0 : tokensAt(before, time, limits) - tokensAt(before, seen, limits);
  return {
    time,
    source: formatIpv4(event.saddr),
    sourcePort: event.source,
    destination: formatIpv4(event.daddr),
    destinationPort: event.dest,
    tokensLeft: tokensAt(after, time, limits),
    tokensRefilled: Math.max(0, refilled),
    verdict: limits.dryRun ? 'pass' : verdict,
    reason: name,
  };
}
