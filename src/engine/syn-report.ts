import type { Infer } from '../ebpf/language.ts';
import type { SynEvent } from '../dataplane/outcome/events.ts';
import { type ReasonName, reasonNumbered, type VerdictName } from '../dataplane/outcome/reason.ts';
import { tokensLeft } from '../dataplane/state/ticks.ts';
import { formatAddress } from '../net/address.ts';
import type { Policy } from '../policy/policy.ts';

/** What became of one SYN. */
export interface SynReport {
  /** Nanoseconds of the kernel's monotonic clock. */
  readonly time: bigint;
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
  /** The service it was for; absent where it was judged before. */
  readonly service?: string;
  /** Tokens in the bucket of the source after this SYN, of the service's burst; absent where its bucket was not asked. */
  readonly tokensLeft?: number;
  readonly verdict: VerdictName;
  readonly reason: ReasonName;
}

function wordsToAddress(words: readonly bigint[], family: number): string {
  const bytes = Buffer.alloc(16);
  words.forEach((word, index) => bytes.writeBigUInt64LE(word, index * 8));
  return formatAddress(bytes.subarray(0, family === 4 ? 4 : 16));
}

/** An event in words: `policy` is the one that it was written under. */
export function synReport(event: Infer<typeof SynEvent>, policy: Policy): SynReport {
  const { name, verdict } = reasonNumbered(event.reason);
  const service = policy.services[event.service];
  // A bucket that was asked has a cell ahead of the clock.
  const bucket = event.after > 0 ? service?.limits.source : undefined;
  return {
    time: event.time,
    source: wordsToAddress(event.source, event.family),
    sourcePort: event.sourcePort,
    destination: wordsToAddress(event.destination, event.family),
    destinationPort: event.destinationPort,
    ...(service ? { service: service.name } : {}),
    ...(bucket ? { tokensLeft: tokensLeft(policy, bucket, event.after) } : {}),
    verdict: policy.dryRun ? 'pass' : verdict,
    reason: name,
  };
}
