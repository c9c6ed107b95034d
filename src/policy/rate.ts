import { PolicyError } from '../ebpf/language.ts';

const SECONDS: Record<string, bigint> = { s: 1n, m: 60n, h: 3600n, d: 86400n };
const FACTORS: Record<string, bigint> = { '': 1n, k: 1000n, M: 1_000_000n };
const NANOSECONDS = 1_000_000_000n;

/** A rate as an operator writes it, and the nanoseconds from one to the next, rounded up. */
export interface Rate {
  readonly text: string;
  readonly interval: bigint;
}

/** Reads `1/s`, `10k/s`, `5/m`. @throws PolicyError that says what is expected. */
export function parseRate(text: string, path: string): Rate {
  const match = /^([1-9]\d*)(k|M)?\/(s|m|h|d)$/.exec(text);
  if (!match) {
    throw new PolicyError(
      path,
      `"${text}" is no rate; write a number per s, m, h or d, for example 1/s, 10k/s or 30/m`,
    );
  }
  const [, count = '1', factor = '', unit = 's'] = match;
  const perUnit = BigInt(count) * FACTORS[factor]!;
  const interval = (NANOSECONDS * SECONDS[unit]! + perUnit - 1n) / perUnit;
  return { text, interval };
}

/** Reads a whole number between two bounds. */
export function parseCount(text: string, path: string, lowest: number, highest: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < lowest || value > highest) {
    throw new PolicyError(path, `"${text}" is no whole number from ${String(lowest)} to ${String(highest)}`);
  }
  return value;
}

/** Reads `80,443`. */
export function parsePorts(text: string, path: string): number[] {
  return text.split(',').map((port) => parseCount(port.trim(), path, 1, 65535));
}
