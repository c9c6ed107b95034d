import { expect, it } from 'vitest';
import { checkLimits } from '../policy/limits.ts';
import { synReport, tokensAt } from './syn-report.ts';

const limits = checkLimits();
const SECOND = 1_000_000_000n;

it.each([
  ['a full bucket', 0n, 100n, 5],
  ['a token taken', 100n + SECOND, 100n, 4],
  ['all taken', 100n + 5n * SECOND, 100n, 0],
  ['a token all but back', 100n + 5n * SECOND, 99n + SECOND, 0],
  ['a token back', 100n + 5n * SECOND, 100n + SECOND, 1],
])('counts the tokens of %s', (_what, paidUntil, time, tokens) => {
  expect(tokensAt(paidUntil, time, limits)).toBe(tokens);
});

it('tells what came back since the SYN before', () => {
  const start = 1000n * SECOND;
  const before = start + 5n * SECOND; // five taken at the start
  const time = start + 2n * SECOND;
  const event = {
    time,
    before,
    after: before + SECOND,
    seen: start,
    saddr: 0x0a000001,
    daddr: 0x0a00000a,
    source: 4000,
    dest: 80,
    reason: 6,
    pad: new Uint8Array(3),
  };
  expect(synReport(event, limits)).toEqual({
    time,
    source: '10.0.0.1',
    sourcePort: 4000,
    destination: '10.0.0.10',
    destinationPort: 80,
    tokensLeft: 1,
    tokensRefilled: 2,
    verdict: 'pass',
    reason: 'within-limit',
  });
});
