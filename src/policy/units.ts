/** Numbers as people write them: rates, durations, counts, ports. */
import { quote } from '../net/quote.ts';
import { PolicyError } from './policy-error.ts';

const SECONDS: Record<string, bigint> = { s: 1n, m: 60n, h: 3600n, d: 86_400n };
const FACTORS: Record<string, bigint> = { '': 1n, k: 1000n, M: 1_000_000n, G: 1_000_000_000n };
const NANOSECONDS = 1_000_000_000n;

/** A rate as an operator writes it, and the nanoseconds from one to the next, rounded up. */
export interface Rate {
  readonly text: string;
  readonly interval: bigint;
}

/** Ports from `first` to `last`, both included. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Reads `1/s`, `10k/s`, `5/m`. @throws PolicyError that says what is expected. */
export function parseRate(text: string, path: string): Rate {
  const match = /^([1-9]\d{0,8})(k|M)?\/(s|m|h|d)$/.exec(text);
  if (!match) {
    throw new PolicyError(
      path,
      `${quote(text)} is not a rate; write a number per s, m, h or d, for example 1/s, 10k/s or 30/m`,
    );
  }
  const [, count = '1', factor = '', unit = 's'] = match;
  const perUnit = BigInt(count) * FACTORS[factor]!;
  const interval = (NANOSECONDS * SECONDS[unit]! + perUnit - 1n) / perUnit;
  return { text, interval };
}

/** The longest duration; the clock's 64 bits hold 292 years, and no proof of an address is worth so much. */
const LONGEST_DURATION = 365n * 86_400n * NANOSECONDS;

/** Reads `30s`, `5m`, `2h`, `1d`, up to `365d`: nanoseconds. */
export function parseDuration(text: string, path: string): bigint {
  const match = /^([1-9]\d{0,8})(s|m|h|d)$/.exec(text);
  const duration = match ? BigInt(match[1]!) * SECONDS[match[2]!]! * NANOSECONDS : undefined;
  if (duration === undefined || duration > LONGEST_DURATION)
    throw new PolicyError(path, `${quote(text)} is not a duration up to 365d; write, for example, 30s, 5m or 1h`);
  return duration;
}

/** The shortest text that `parseDuration` reads as this many nanoseconds. */
export function formatDuration(nanoseconds: bigint): string {
  const seconds = nanoseconds / NANOSECONDS;
  const [unit, length] = Object.entries(SECONDS).findLast(([, size]) => seconds % size === 0n)!;
  return `${String(seconds / length)}${unit}`;
}

/** Reads a whole number between two bounds; `10k` and `2M` are understood. */
export function parseCount(text: string, path: string, lowest: number, highest: number): number {
  const match = /^(\d+)(k|M|G)?$/.exec(text);
  const value = match ? Number(match[1]) * Number(FACTORS[match[2] ?? '']) : NaN;
  if (!(value >= lowest && value <= highest)) {
    throw new PolicyError(path, `${quote(text)} is not a whole number from ${String(lowest)} to ${String(highest)}`);
  }
  return value;
}

/** Reads `80` or `8000-8100`. */
export function parsePortRange(text: string, path: string): PortRange {
  const [, first, last = first] = /^\s*(\d+)\s*(?:-\s*(\d+)\s*)?$/.exec(text) ?? [];
  if (first === undefined)
    throw new PolicyError(
      path,
      `${quote(text)} is not a port; write a number from 1 to 65535, or a range such as 8000-8100`,
    );
  const range = { first: parseCount(first, path, 1, 65_535), last: parseCount(last!, path, 1, 65_535) };
  if (range.first > range.last) {
    throw new PolicyError(
      path,
      `${quote(text)} is not a port range; write the lower port first, for example 8000-8100`,
    );
  }
  return range;
}

/** Reads `80,443,8000-8100`. */
export function parsePorts(text: string, path: string): PortRange[] {
  const parts = text.split(',').map((part) => part.trim());
  if (parts.includes(''))
    throw new PolicyError(path, `${quote(text)} lacks a port beside a comma; write, for example, 80,443`);
  return parts.map((part) => parsePortRange(part, path));
}

export function formatPorts(ranges: readonly PortRange[]): string {
  return ranges
    .map(({ first, last }) => (first === last ? String(first) : `${String(first)}-${String(last)}`))
    .join(', ');
}
