import fc from 'fast-check';
import { expect, it } from 'vitest';
import { packIpv4 } from '../../net/network-list.ts';
import { capacityFor, ListTable } from './list-table.ts';

const memory = (middle = 256, leaf = 1024) => ({
  root: new Uint32Array(65_536),
  middle: new Uint32Array(middle * 256),
  leaf: new Uint32Array(leaf * 16),
});

/** The same memory, which calls back after each store. */
function watched(words: Uint32Array, onStore: () => void): Uint32Array {
  return new Proxy(words, {
    set(target, key, value: number) {
      target[key as unknown as number] = value;
      onStore();
      return true;
    },
    get(target, key) {
      const found: unknown = Reflect.get(target, key, target);
      if (typeof found !== 'function') return found;
      return (...args: unknown[]): unknown => {
        const result: unknown = Reflect.apply(found, target, args);
        onStore();
        return result;
      };
    },
  });
}

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

it('changes whole or not at all, and no reader ever sees a third state', () => {
  // Wide networks make ten thousands of stores.
  const networks = fc.array(
    network.filter((packed) => packed % 64 >= 15),
    { maxLength: 5 },
  );
  const change = fc.record({ allow: networks, deny: networks });
  const addresses = [10, 11].flatMap((a) =>
    [0, 1].flatMap((b) => [0, 1, 255].flatMap((c) => [0, 1, 128, 255].map((d) => ((a * 256 + b) * 256 + c) * 256 + d))),
  );
  let refused = 0;
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 10 }), (targets) => {
      // So few blocks that some changes do not fit.
      const tables = memory(3, 4);
      let onStore = (): void => {};
      const table = new ListTable({
        root: watched(tables.root, () => onStore()),
        middle: watched(tables.middle, () => onStore()),
        leaf: watched(tables.leaf, () => onStore()),
      });
      const answers = (): number[] => addresses.map((candidate) => look(tables, candidate));
      let now = { allow: new Set<number>(), deny: new Set<number>() };
      for (const target of targets) {
        const next = { allow: new Set(target.allow), deny: new Set(target.deny) };
        const within = (set: ReadonlySet<number>, candidate: number): boolean =>
          [...set].some((one) => covers(one, candidate));
        const wanted = addresses.map((one) => (within(next.allow, one) ? 1 : within(next.deny, one) ? 2 : 0));
        const before = answers();
        onStore = () => {
          const third = answers().findIndex((answer, at) => answer !== before[at] && answer !== wanted[at]);
          if (third >= 0) expect.fail(`a third state at ${String(addresses[third])}`);
        };
        const between = (action: 'allow' | 'deny') => ({
          add: [...next[action]].filter((one) => !now[action].has(one)),
          remove: [...now[action]].filter((one) => !next[action].has(one)),
        });
        try {
          table.apply({ allow: between('allow'), deny: between('deny') });
          expect(answers()).toEqual(wanted);
          now = next;
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
          expect(answers()).toEqual(before);
          refused++;
        }
        onStore = () => {};
      }
    }),
    { numRuns: 50, seed: 4 },
  );
  expect(refused).toBeGreaterThan(10);
});

it('refuses a thousand networks in the place of a thousand others where only some fit, and goes on', () => {
  const hosts = (second: number): number[] =>
    Array.from({ length: 1000 }, (_, at) =>
      packIpv4(((10 * 256 + second + (at >> 8)) * 256 + (at & 255)) * 256 + 7, 32),
    );
  const [first, second] = [hosts(0), hosts(100)];
  const { middle, leaf } = capacityFor(first, 0);
  const tables = memory(middle, leaf);
  const table = new ListTable(tables);
  table.apply({ deny: { add: first } });
  const isDenied = (packed: number): boolean => look(tables, Math.floor(packed / 64)) === 2;
  for (let turn = 0; turn < 3; turn++) {
    expect(() => {
      table.apply({ deny: { add: second, remove: first } });
    }).toThrow(RangeError);
    expect([first.every(isDenied), second.some(isDenied)]).toEqual([true, false]);
  }
  table.apply({ deny: { remove: first } });
  table.apply({ deny: { add: second } });
  expect([first.some(isDenied), second.every(isDenied)]).toEqual([false, true]);
});
