import { expect, it } from 'vitest';
import type { PolicyInput } from '../../src/policy/schema.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { Model } from '../support/model.ts';
import { ProgramUnderTest } from '../support/program-under-test.ts';
import { Random, randomFrame } from '../support/random-frame.ts';

const FRAMES = Number(process.env['FRAMES'] ?? 50_000);
const SEED = Number(process.env['SEED'] ?? 1);
const DAY = 86_400n * 1_000_000_000n;

const tight = { source: { rate: '1/s', burst: 5 }, service: { rate: '20/s', burst: 30 } };
const POLICIES: readonly (readonly [string, PolicyInput])[] = [
  ['default', { challenge: { mode: 'off' } }],
  ['tight, in a dry run', { challenge: { mode: 'off' }, limits: tight, 'dry-run': true }],
  [
    'lists, fragments dropped, no sanity checks',
    {
      challenge: { mode: 'off' },
      lists: { allow: ['10.0.0.2', '2001:db8::/48'], deny: ['10.0.0.0/24', '198.51.100.1', 'fd00:0:0:1::/64', '2001:db8::5'] },
      fragments: { first: 'drop', later: 'drop' },
      sanity: Object.fromEntries(
        ['syn-fin', 'syn-rst', 'syn-urg', 'syn-payload', 'syn-ack-number', 'null-port', 'hping', 'mirai'].map((name) => [name, false]),
      ),
    },
  ],
  [
    'three services that differ',
    {
      challenge: { mode: 'off' },
      services: [
        { name: 'web', addresses: ['10.0.0.10', 'fd00::/64'], ports: [80, '8000-8050'], limits: { source: { rate: '2/s', burst: 3 } } },
        { name: 'open', ports: [443], limits: { source: false, prefixes: [], service: false } },
        { name: 'rest', addresses: ['10.0.0.0/24', '2001:db8::/32'], limits: tight },
      ],
    },
  ],
  [
    'services by look-up',
    {
      challenge: { mode: 'off' },
      services: [
        { name: 'many', addresses: ['10.0.0.11'], ports: Array.from({ length: 30 }, (_, index) => 8000 + index * 5) },
        { name: 'net', addresses: ['10.0.0.0/24', 'fd00::/48'], ports: [80], limits: { source: { rate: '10/s', burst: 1 } } },
        { name: 'ssh', ports: [22, '400-500'] },
      ],
    },
  ],
];

/** Mostly bursts; now and then a pause in which buckets refill, and rarely one in which cells of 32 bits wrap. */
function pause(random: Random): bigint {
  if (random.chance(0.97)) return BigInt(random.pick([0, 0, 0, 1000, 5_000_000, 20_000_000]));
  return random.chance(0.9) ? BigInt(random.below(2 ** 34)) : BigInt(random.below(20)) * DAY;
}

describeAsRoot('data plane and model', () => {
  it.each(POLICIES)('agree on every frame: %s', (_name, input) => {
    using kernel = new ProgramUnderTest(input);
    const model = new Model(kernel.protection.policy, kernel.keys);
    const random = new Random(SEED);
    let now = DAY;
    const seen = new Map<string, number>();
    for (let index = 0; index < FRAMES / POLICIES.length; index++) {
      now += pause(random);
      const data = randomFrame(random);
      const expected = model.judge(data, now);
      const { verdict, reason, data: after } = kernel.at(now).judge(data);
      if (verdict !== expected.verdict || reason !== expected.reason || !after.equals(data)) {
        expect({ frame: data.toString('hex'), index, verdict, reason }).toEqual({ frame: data.toString('hex'), index, ...expected });
      }
      seen.set(reason, (seen.get(reason) ?? 0) + 1);
    }
    // The generator reaches what it is meant to.
    expect(seen.size).toBeGreaterThan(12);
    if (process.env['SHOW']) console.log(Object.fromEntries(seen));
  });
});
