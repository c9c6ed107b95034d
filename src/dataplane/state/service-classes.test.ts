import { randomInt } from 'node:crypto';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { cidrContains, parseCidr } from '../../net/address.ts';
import type { Policy } from '../../policy/policy.ts';
import { resolvePolicy } from '../../policy/policy.ts';
import { PolicyError } from '../../policy/policy-error.ts';
import { serviceClasses } from './service-classes.ts';
import { NO_SERVICE } from './service-policy.ts';

/** The first service that an address and a port belong to, as the policy's document says it. */
function expected(services: Policy['services'], address: Uint8Array, port: number): number {
  const found = services.findIndex(
    ({ addresses, ports }) =>
      (addresses.length === 0 || addresses.some((network) => cidrContains(network, address))) &&
      (ports.length === 0 || ports.some(({ first, last }) => first <= port && port <= last)),
  );
  return found < 0 ? NO_SERVICE : found;
}

/** The same by the maps, as the program looks it up: the longest prefix decides. */
function lookedUp({ services }: Policy): (address: Uint8Array, port: number) => number {
  const { ports, addresses, portClasses, table } = serviceClasses({ services });
  const longest = addresses.toSorted(([a], [b]) => b.bits - a.bits);
  return (address, port) => {
    const [, addressClass] = longest.find(([network]) => cidrContains(network, address))!;
    return table[addressClass * portClasses + ports[port]!]!;
  };
}

const edge = fc.constantFrom(1, 2, 79, 80, 81, 8000, 65_534, 65_535);
const network = fc.constantFrom(
  '10.0.0.0/8',
  '10.1.0.0/16',
  '10.1.2.3',
  '0.0.0.0/0',
  '2001:db8::/32',
  '2001:db8::1',
  '::/0',
);
const service = fc.record({
  ports: fc.array(
    fc.tuple(edge, edge).map(([a, b]) => `${String(Math.min(a, b))}-${String(Math.max(a, b))}`),
    { maxLength: 4 },
  ),
  addresses: fc.array(network, { maxLength: 3 }),
});

it('finds the first service that names both, whatever overlaps', () => {
  fc.assert(
    fc.property(fc.array(service, { minLength: 1, maxLength: 40 }), (list) => {
      const policy = resolvePolicy({ services: list.map((one, index) => ({ name: `s${String(index)}`, ...one })) });
      const find = lookedUp(policy);
      for (const text of ['10.1.2.3', '10.1.2.4', '10.9.9.9', '192.0.2.1', '2001:db8::1', '2001:db8::2', '2001::']) {
        const { address } = parseCidr(text);
        for (const port of [0, 1, 2, 3, 79, 80, 81, 82, 7999, 8000, 8001, 65_534, 65_535])
          expect(find(address, port)).toBe(expected(policy.services, address, port));
      }
    }),
    { numRuns: 100 },
  );
});

const many = (one: (index: number) => object): Policy =>
  resolvePolicy({
    services: Array.from({ length: 1024 }, (_, index) => ({ name: `s${String(index)}`, ...one(index) })),
  });

it.each<[string, (index: number) => object]>([
  ['all ports each', () => ({ ports: ['1-65535'] })],
  [
    'all ports each and an address',
    (index) => ({ ports: ['1-65535'], addresses: [`10.0.${String(index >> 8)}.${String(index & 255)}`] }),
  ],
  [
    'an address and two ports each',
    (index) => ({ ports: [index + 1, index + 2000], addresses: [`10.0.${String(index >> 8)}.${String(index & 255)}`] }),
  ],
  [
    'networks in one another',
    (index) => ({ ports: [1, 2, 3], addresses: [`10.${String(index & 255)}.0.0/${String(8 + (index >> 6))}`] }),
  ],
])('takes 1,024 services with %s', (_, one) => {
  const { services } = many(one);
  const find = lookedUp({ services } as Policy);
  for (let round = 0; round < 50; round++) {
    const { address } = parseCidr(`10.${String(randomInt(4))}.${String(randomInt(4))}.${String(randomInt(256))}`);
    const port = randomInt(4000);
    expect(find(address, port)).toBe(expected(services, address, port));
  }
});

it('refuses what would take too much memory', () => {
  const host = (index: number): string => `${String((index & 1023) >> 8)}.${String(index & 255)}`;
  const tangled = many((index) => ({
    ports: [`${String(index + 1)}-${String(index + 2000)}`],
    addresses: [
      `10.${host(index)}.0/24`,
      `10.${host(index + 1)}.1`,
      `10.${host(index + 2)}.2`,
      `10.${host(index + 3)}.3`,
    ],
  }));
  expect(() => serviceClasses(tangled)).toThrow(PolicyError);
  expect(() => serviceClasses(tangled)).toThrow(/services: \d+ groups of addresses by \d+ groups of ports/);
});
