import { expect, it } from 'vitest';
import { reasonOf, type ReasonName } from '../dataplane/outcome/reason.ts';
import { resolvePolicy } from '../policy/policy.ts';
import { synReport } from './syn-report.ts';

const event = (reason: ReasonName, after = 0) => ({
  time: 7n,
  source: [0x0100_000an, 0n],
  destination: [0x0a00_000an, 0n],
  sourcePort: 40_000,
  destinationPort: 80,
  service: 0,
  before: 0,
  after,
  reason: reasonOf(reason).number,
  family: 4,
  pad: new Uint8Array(6),
});
// One a second is 7630 ticks of 2^17 ns.
const PRICE = 7630;

it.each([
  [PRICE, 4],
  [PRICE - 1, 4],
  [PRICE + 1, 3],
  [5 * PRICE, 0],
  [5 * PRICE - 1, 0],
  [1, 4],
])('a cell %i ticks ahead leaves %i tokens', (after, tokens) => {
  expect(synReport(event('within-limit', after), resolvePolicy())).toMatchObject({
    source: '10.0.0.1',
    destination: '10.0.0.10',
    service: 'all',
    tokensLeft: tokens,
    verdict: 'pass',
  });
});

it('says nothing of tokens where the bucket was not asked, and passes in a dry run', () => {
  for (const reason of ['land', 'over-service', 'challenged'] as const)
    expect(synReport(event(reason), resolvePolicy())).not.toHaveProperty('tokensLeft');
  expect(synReport(event('over-source'), resolvePolicy({ 'dry-run': true })).verdict).toBe('pass');
});
