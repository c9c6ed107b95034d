import fc from 'fast-check';
import { expect, it } from 'vitest';
import { packIpv4 } from '../../net/network-list.ts';
import { ListTable } from './list-table.ts';

const memory = () => ({
  root: new Uint32Array(65_536),
  middle: new Uint32Array(256 * 256),
  leaf: new Uint32Array(1024 * 16),
});

/** What the program does. */
function look({ root, middle, leaf }: ReturnType<typeof memory>, address: number): number {
  const octet = (index: number): number => (address >>> (24 - index * 8)) & 0xff;
  let found = root[(octet(0) << 8) | octet(1)]!;
  if (found >= 4) found = middle[(found - 4) * 256 + octet(2)]!;
  if (found >= 4) found = (leaf[(found - 4) * 16 + (octet(3) >> 4)]! >>> ((octet(3) & 15) * 2)) & 3;
  return found;
}

// Few different bits, so that networks and addresses often meet.
const address = fc
  .tuple(fc.constantFrom(10, 11), fc.constantFrom(0, 1), fc.constantFrom(0, 1, 255), fc.constantFrom(0, 1, 2, 128, 255))
  .map(([a, b, c, d]) => a * 2 ** 24 + b * 2 ** 16 + c * 256 + d);
const network = fc.record({ address, bits: fc.constantFrom(0, 1, 8, 15, 16, 17, 23, 24, 25, 31, 32) }).map((given) => {
  const size = 2 ** (32 - given.bits);
  return packIpv4(Math.floor(given.address / size) * size, given.bits);
});
const covers = (packed: number, candidate: number): boolean => {
  const size = 2 ** (32 - (packed % 64));
  return Math.floor(candidate / size) === Math.floor(Math.floor(packed / 64) / size);
};

it('answers for every address what the networks say, after every change', () => {
  const change = fc.record({
    action: fc.constantFrom('allow' as const, 'deny' as const),
    add: fc.array(network, { maxLength: 4 }),
    removeFirst: fc.boolean(),
  });
  fc.assert(
    fc.property(
      fc.array(change, { maxLength: 12 }),
      fc.array(address, { minLength: 20, maxLength: 20 }),
      (changes, addresses) => {
        const tables = memory();
        const table = new ListTable(tables);
        const sets = { allow: new Set<number>(), deny: new Set<number>() };
        for (const { action, add, removeFirst } of changes) {
          const set = sets[action];
          const remove = removeFirst ? [...set].slice(0, 2) : [];
          for (const one of remove) set.delete(one);
          for (const one of add) set.add(one);
          table.apply({ [action]: { add, remove } });
          for (const candidate of addresses) {
            const within = (action: 'allow' | 'deny'): boolean =>
              [...sets[action]].some((one) => covers(one, candidate));
            expect(look(tables, candidate)).toBe(within('allow') ? 1 : within('deny') ? 2 : 0);
          }
          expect(table.empty).toBe(sets.allow.size + sets.deny.size === 0);
        }
      },
    ),
    { numRuns: 100 },
  );
});
