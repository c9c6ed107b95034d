import fc from 'fast-check';
import { expect, it } from 'vitest';
import { bucketTicks, tickShifts } from '../../src/dataplane/state/ticks.ts';
import { ethernet, frame, ipv4, tcp } from '../../src/net/build.ts';
import { PolicyError } from '../../src/policy/policy-error.ts';
import { type Bucket, type Policy, resolvePolicy } from '../../src/policy/policy.ts';
import type { PolicyInput } from '../../src/policy/schema.ts';
import { formatPolicy, readPolicy } from '../../src/policy/toml.ts';
import { Replay } from '../../src/tools/replay.ts';
import { describeAsRoot } from '../support/as-root.ts';

/** Values at the edges of the schema, and for one of `odds` a value beyond them. */
const edges = (odds: number, inside: readonly unknown[], outside: readonly unknown[]): fc.Arbitrary<unknown> =>
  fc.oneof(
    { weight: odds - 1, arbitrary: fc.constantFrom(...inside) },
    { weight: 1, arbitrary: fc.constantFrom(...outside) },
  );

const NOTHING = [null, -1, 0.5, Number.NaN, '', '\0', {}, [], true, 2n ** 70n, 'x'.repeat(100_000)];
const rate = edges(
  150,
  ['1/s', '1/d', '30/m', '999999999M/s', '10M/s', '1k/s', '1/h'],
  ['0/s', '1e9/s', '1/y', ' 1/s', ...NOTHING],
);
const burst = edges(150, [1, 2, 5, 400, '1k', 524_288], [0, 524_289, '1G', 1_000_001, ...NOTHING]);
const bucket = fc.oneof(
  {
    weight: 30,
    arbitrary: fc.constantFrom(
      { rate: '999999999M/s', burst: 524_288 },
      { rate: '10k/s', burst: 1 },
      { rate: '1/s', burst: '1k' },
      { rate: '1/h', burst: 720 },
      { rate: '1/d', burst: 30 },
    ),
  },
  { weight: 1, arbitrary: fc.record({ rate, burst }) },
);
const limit = fc.oneof({ weight: 3, arbitrary: bucket }, { weight: 1, arbitrary: fc.constant(false) });
const prefix = fc
  .tuple(edges(80, [4, 6], [5, '4', ...NOTHING]), edges(80, [1, 24, 31], [0, 32, 127, 128, ...NOTHING]), bucket)
  .map(([family, bits, of]) => ({ family, bits, ...of }));
const limits = fc.record(
  { source: limit, service: limit, verified: bucket, prefixes: fc.array(prefix, { maxLength: 5 }) },
  { requiredKeys: [] },
);
const port = edges(
  150,
  [1, 80, 65_535, '1-65535', '80-443', '65535-65535'],
  [0, 65_536, '443-80', '1-', '-1', '1-2-3', ...NOTHING],
);
const network = edges(
  150,
  ['0.0.0.0/0', '::/0', '255.255.255.255', '10.0.0.0/31', '2001:db8::/127', '::ffff:10.0.0.1', '::ffff:0:0/96', '::1'],
  ['10.0.0.0/33', '::/129', '10.0.0', '010.0.0.1', 'fe80::1%eth0', '1.2.3.4/', ...NOTHING],
);
const mode = edges(120, ['auto', 'always', 'off'], ['on', ...NOTHING]);
const form = edges(120, ['cookie', 'reset', 'assign', 'kernel'], ['syn', ...NOTHING]);
const service = fc.record(
  {
    name: edges(150, ['web'], ['a b', 'x'.repeat(33), ...NOTHING]),
    addresses: fc.array(network, { maxLength: 6 }),
    ports: fc.array(port, { maxLength: 6 }),
    limits,
    challenge: mode,
    form,
  },
  { requiredKeys: ['name'] },
);
/** Services with names of their own, seldom very many; the same limits for most, because prefixes have the same lengths everywhere. */
const services = fc
  .tuple(fc.array(service, { maxLength: 4 }), fc.constantFrom(...Array<number>(15).fill(1), 20, 1024, 1025))
  .map(([some, times]) =>
    some.flatMap((one, at) =>
      Array.from({ length: Math.ceil(times / some.length) }, (_, copy) =>
        typeof one.name === 'string' && one.name === 'web'
          ? { ...one, name: `web.${String(at)}.${String(copy)}` }
          : one,
      ),
    ),
  );
const policy = fc.record(
  {
    interfaces: fc.array(
      edges(120, ['eth0', 'lo', 'fifteen-bytes-x'], ['', '..', 'a/b', 'sixteen-bytes-xx', 'a b', ...NOTHING]),
      {
        maxLength: 2,
      },
    ),
    'dry-run': edges(120, [true, false], NOTHING),
    management: fc.array(network, { maxLength: 3 }),
    lists: fc.record(
      { allow: fc.array(network, { maxLength: 3 }), deny: fc.array(network, { maxLength: 3 }) },
      { requiredKeys: [] },
    ),
    limits,
    challenge: fc.record(
      {
        mode,
        form,
        remember: edges(120, ['1s', '365d', '8760h', '31536000s'], ['0s', '366d', '999999999d', '5', ...NOTHING]),
      },
      { requiredKeys: [] },
    ),
    services,
    sanity: fc.dictionary(
      edges(9, ['land', 'hping', 'fast-open'], ['landd', '__proto__', 'constructor']) as fc.Arbitrary<string>,
      edges(120, [true, false], NOTHING),
    ),
    fragments: fc.record(
      { first: fc.constantFrom('judge', 'drop'), later: fc.constantFrom('pass', 'drop') },
      { requiredKeys: [] },
    ),
    events: fc.record({ rate: edges(80, ['1/s', '1/h', '999999999M/s'], ['1/d', ...NOTHING]) }, { requiredKeys: [] }),
    meter: fc.record({ cells: edges(80, [1024, 1025, '64k', 1_048_576], [1023, 1_073_741_825, '2G', ...NOTHING]) }),
  },
  { requiredKeys: [] },
);

/** What `use` gives, or undefined where the policy is refused as an operator's mistake is. */
function unlessRefused<T>(use: () => T): T | undefined {
  try {
    return use();
  } catch (error) {
    expect(error).toBeInstanceOf(PolicyError);
    const { message } = error as PolicyError;
    expect(message.length).toBeLessThan(1200);
    expect(message).not.toMatch(/\n|undefined|\[object|NaN(?!")/);
    return undefined;
  }
}

const resolved = (input: unknown): Policy | undefined => unlessRefused(() => resolvePolicy(input as PolicyInput));

it('refuses a policy as a mistake of the operator, or takes it and prints it so that it says the same', () => {
  let taken = 0;
  fc.assert(
    fc.property(policy, (input) => {
      const found = resolved(input);
      if (!found) return;
      taken++;
      expect(readPolicy(formatPolicy(found), 'again').policy).toEqual(found);
    }),
    // One in eight is taken; of 300 policies, 30 or fewer were in one run of twenty.
    { numRuns: Number(process.env['FUZZ_RUNS'] ?? 600) },
  );
  expect(taken).toBeGreaterThan(30);
});

it('gives every bucket of every policy at least nine tenths of its rate', () => {
  fc.assert(
    fc.property(policy, (input) => {
      const found = resolved(input);
      if (!found) return;
      const shifts = unlessRefused(() => tickShifts(found.services));
      if (!shifts) return;
      const exact = (given: Bucket | undefined, shift: number): void => {
        if (!given) return;
        const { price, credit } = bucketTicks(given, shift);
        expect(credit + price).toBeLessThan(2 ** 31);
        expect(
          Number(given.interval) / (price * 2 ** shift),
          `${given.rate}, burst ${String(given.burst)}`,
        ).toBeGreaterThan(0.9);
      };
      for (const { limits: of } of found.services) {
        exact(of.source, shifts.source);
        exact(of.verified, shifts.verified);
        of.prefixes.forEach((one, at) => {
          exact(one, shifts.prefixes[at]!);
        });
      }
    }),
    { numRuns: Number(process.env['FUZZ_RUNS'] ?? 300) },
  );
});

it('refuses limits of services that are too far apart for the ticks of one meter', () => {
  const source = { rate: '10k/s', burst: 5 };
  const { services: apart } = resolvePolicy({
    services: [
      { name: 'fast', ports: [80], limits: { source } },
      { name: 'slow', limits: { source: { rate: '1/h', burst: 720 } } },
    ],
  });
  expect(() => tickShifts(apart)).toThrow(
    'services.1.limits.source: 1/h with a burst of 720 cannot share a meter with 10k/s in another service; raise the slower rate or lower its burst',
  );
});

describeAsRoot('in the kernel', () => {
  const load = (input: unknown): boolean =>
    unlessRefused(() => {
      using _replay = new Replay(resolvePolicy(input as PolicyInput));
      return true;
    }) ?? false;

  it('the verifier takes a sample of them', () => {
    let loaded = 0;
    fc.assert(
      fc.property(policy, (input) => {
        if (loaded < 6 && load(input)) loaded++;
      }),
      { numRuns: 200 },
    );
    expect(loaded).toBe(6);
  });

  const many = (one: (index: number) => object): PolicyInput => ({
    services: Array.from({ length: 1024 }, (_, index) => ({ name: `s${String(index)}`, ...one(index) })),
  });
  it.each<[string, PolicyInput]>([
    ['1,024 services without ports or addresses', many(() => ({}))],
    ['1,024 services of all ports each', many(() => ({ ports: ['1-65535'] }))],
    [
      '1,024 services that differ in everything',
      many((index) => ({
        ports: [index + 1, `${String(index + 2000)}-${String(index + 3000)}`],
        addresses: [`10.0.${String(index >> 8)}.${String(index & 255)}`],
        limits: { source: { rate: `${String(index + 1)}/m`, burst: index + 1 } },
      })),
    ],
    [
      'the most of everything',
      {
        limits: {
          source: { rate: '999999999M/s', burst: 524_288 },
          service: { rate: '1/d', burst: 30 },
          verified: { rate: '5/s', burst: 524_288 },
          prefixes: [
            { family: 4, bits: 1, rate: '1/d', burst: 30 },
            { family: 4, bits: 31, rate: '10M/s', burst: 1 },
            { family: 6, bits: 1, rate: '1/h', burst: 1 },
            { family: 6, bits: 127, rate: '1/s', burst: 524_288 },
          ],
        },
        challenge: { remember: '365d', form: 'reset', mode: 'always' },
        fragments: { first: 'drop', later: 'drop' },
        events: { rate: '2/h' },
        meter: { cells: 1024 },
      },
    ],
  ])('loads %s', (_, input) => {
    expect(load(input)).toBe(true);
  });

  it('finds each of many services', () => {
    const address = (index: number): string => `10.0.${String(index >> 8)}.${String(index & 255)}`;
    const input = many((index) => ({ ports: [index + 1], addresses: [address(index)] }));
    using replay = new Replay(resolvePolicy({ ...input, challenge: { mode: 'off' } }));
    const serviceAt = (dst: string, dest: number): string | undefined => {
      const data = frame([
        ethernet(),
        ipv4({ dst }),
        tcp({ dest, flags: ['SYN'], options: [{ kind: 'mss', size: 1460 }] }),
      ]);
      return replay.run({ time: 0n, data, length: data.length, linkType: 1 }).service;
    };
    for (const index of [0, 1, 255, 256, 777, 1023]) {
      expect(serviceAt(address(index), index + 1)).toBe(`s${String(index)}`);
      expect(serviceAt(address(index), index + 2)).toBeUndefined();
    }
  });
});
