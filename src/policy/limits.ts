import { PolicyError } from '../ebpf/language.ts';
import { parseRate } from './rate.ts';

/** What each source address may do, and for which ports. */
export interface Limits {
  /** Tokens that come back, `1/s` unless given. */
  readonly rate?: string;
  /** Tokens in a full bucket, 5 unless given. */
  readonly burst?: number;
  /** How many sources are remembered, 65,536 unless given; the least recently seen goes first. */
  readonly maxSources?: number;
  /** Destination ports that are protected; every one where none is named. */
  readonly ports?: readonly number[];
  /** Counts what would be dropped and drops nothing. */
  readonly dryRun?: boolean;
}

/** Limits that have been checked, with every default filled in. */
export interface CheckedLimits extends Required<Limits> {
  /** Nanoseconds from one token to the next. */
  readonly interval: bigint;
}

/** The longest time that a full bucket may stand for: the arrival times of the meter must stay far from the end of 64 bits. */
const LONGEST = 365n * 86_400n * 1_000_000_000n;
/** Ports are compared one by one in the program. */
const MAX_PORTS = 256;

function wholeNumber(value: number, path: string, lowest: number, highest: number): number {
  if (Number.isInteger(value) && value >= lowest && value <= highest) return value;
  throw new PolicyError(path, `${String(value)} is no whole number from ${String(lowest)} to ${String(highest)}`);
}

/** Checks limits and fills in what is not given. @throws PolicyError that names the option. */
export function checkLimits(limits: Limits = {}): CheckedLimits {
  const { rate = '1/s', burst = 5, maxSources = 65_536, ports = [], dryRun = false } = limits;
  const { interval } = parseRate(rate, 'rate');
  wholeNumber(burst, 'burst', 1, 1_000_000);
  wholeNumber(maxSources, 'maxSources', 1, 16_777_216);
  for (const port of ports) wholeNumber(port, 'ports', 1, 65_535);
  if (ports.length > MAX_PORTS)
    throw new PolicyError(
      'ports',
      `${String(ports.length)} ports given; at most ${String(MAX_PORTS)} can be named, or none for all`,
    );
  if (interval * BigInt(burst) > LONGEST) {
    throw new PolicyError(
      'rate',
      `${rate} with a burst of ${String(burst)} takes more than a year to refill; raise the rate or lower the burst`,
    );
  }
  return { rate, burst, maxSources, ports: [...new Set(ports)], dryRun, interval };
}
