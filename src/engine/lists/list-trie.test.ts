import fc from 'fast-check';
import { expect, it } from 'vitest';
import { cidrContains } from '../../net/address.ts';
import { packedBits, packIpv6, unpackIpv6 } from '../../net/ipv6-network.ts';
import { Listed } from '../../dataplane/stages/lists.ts';
import { ListTrie } from './list-trie.ts';

/** Networks of a few bits, so that they lie in each other. */
const network = fc
  .tuple(fc.integer({ min: 0, max: 15 }), fc.integer({ min: 0, max: 4 }))
  .map(([top, bits]) =>
    packIpv6({ address: Uint8Array.from({ length: 16 }, (_, at) => (at === 0 ? top << 4 : 0)), bits }),
  );
const networks = fc.array(network, { maxLength: 6 });
const change = fc.record({ add: networks, remove: networks });

const ADDRESSES = Array.from({ length: 16 }, (_, top) =>
  Uint8Array.from({ length: 16 }, (_value, at) => (at === 0 ? top << 4 : 0)),
);
const covering = (address: Uint8Array) => (packed: string) => cidrContains(unpackIpv6(packed), address);

/** What the trie says of each address. */
const answers = (trie: ReadonlyMap<string, number>): number[] =>
  ADDRESSES.map((address) => {
    const found = [...trie].filter(([packed]) => covering(address)(packed));
    return found.toSorted(([a], [b]) => packedBits(b) - packedBits(a))[0]?.[1] ?? Listed.NO.number;
  });

it('makes the longest prefix say what the lists say, after any changes, and at no step anything else than before or afterwards', () => {
  fc.assert(
    fc.property(fc.array(fc.record({ allow: change, deny: change }), { maxLength: 8 }), (changes) => {
      const trie = new ListTrie();
      const lists = { allow: new Set<string>(), deny: new Set<string>() };
      const inKernel = new Map<string, number>();
      for (const one of changes) {
        for (const action of ['allow', 'deny'] as const) {
          for (const gone of one[action].remove) lists[action].delete(gone);
          for (const added of one[action].add) lists[action].add(added);
        }
        const { set, gone } = trie.apply(one);
        const before = answers(inKernel);
        const wanted = ADDRESSES.map((address) => {
          const covers = covering(address);
          if ([...lists.allow].some(covers)) return Listed.ALLOW.number;
          return [...lists.deny].some(covers) ? Listed.DENY.number : Listed.NO.number;
        });
        const noThirdState = (): void => {
          answers(inKernel).forEach((answer, at) => {
            expect([before[at], wanted[at]]).toContain(answer);
          });
        };
        for (const [packed, value] of set) {
          inKernel.set(packed, value);
          noThirdState();
        }
        for (const packed of gone) {
          expect(inKernel.delete(packed)).toBe(true);
          noThirdState();
        }
        expect(inKernel.size).toBe(trie.size);
        expect(answers(inKernel)).toEqual(wanted);
      }
    }),
  );
});
