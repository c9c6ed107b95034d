import { expect, it } from 'vitest';
import { PolicyError } from '../ebpf/language.ts';
import { checkLimits } from './limits.ts';
import { parseCount, parsePorts, parseRate } from './rate.ts';

it.each([
  ['1/s', 1_000_000_000n],
  ['10k/s', 100_000n],
  ['2M/s', 500n],
  ['30/m', 2_000_000_000n],
  ['1/h', 3_600_000_000_000n],
  ['3/s', 333_333_334n],
])('%s is one every %s ns, never more often', (text, interval) => {
  expect(parseRate(text, 'rate').interval).toBe(interval);
});

it.each(['', '1', '0/s', '-1/s', '1.5/s', '1/y', 's/1', '1 /s'])('refuses the rate "%s" and shows one', (text) => {
  expect(() => parseRate(text, '--rate')).toThrow(/^--rate: .*for example 1\/s/);
});

it('fills in what is not given', () => {
  expect(checkLimits()).toEqual({
    rate: '1/s',
    burst: 5,
    maxSources: 65_536,
    ports: [],
    dryRun: false,
    interval: 1_000_000_000n,
  });
});

it.each([
  [{ burst: 0 }, /^burst/],
  [{ burst: 1.5 }, /^burst/],
  [{ maxSources: 0 }, /^maxSources/],
  [{ ports: [0] }, /^ports/],
  [{ ports: Array.from({ length: 300 }, (_, index) => index + 1) }, /^ports.*at most 256/],
  [{ rate: '1/d', burst: 1_000_000 }, /^rate.*more than a year/],
])('refuses %o', (limits, message) => {
  expect(() => checkLimits(limits)).toThrow(PolicyError);
  expect(() => checkLimits(limits)).toThrow(message);
});

it('reads counts and ports', () => {
  expect(parsePorts('80, 443', '--port')).toEqual([80, 443]);
  expect(() => parsePorts('80,http', '--port')).toThrow(/"http" is no whole number from 1 to 65535/);
  expect(() => parseCount('1e3', '--count', 1, 9999)).toThrow(PolicyError);
});
