/** What the trie of IPv6 networks has to hold for a pair of lists. */
import { packedBits, widenIpv6 } from '../../net/ipv6-network.ts';
import { Listed } from '../../dataplane/stages/lists.ts';

/** Networks that join a list and networks that leave it, packed. */
export interface Change6 {
  readonly add?: readonly string[];
  readonly remove?: readonly string[];
}

/**
 * The entries to write into the trie, and then those to remove, each in order: longest prefix first in, shortest first out. At every step an address
 * has the answer from before the change or the one from after it.
 */
export interface TrieChange {
  readonly set: readonly (readonly [string, number])[];
  readonly gone: readonly string[];
}

/** The longest prefix decides in a trie, but the allow list wins over the deny list: a denied network inside an allowed one is left out. */
export class ListTrie {
  readonly #lists = { allow: new Set<string>(), deny: new Set<string>() };
  /** How many allowed networks there are of each length. */
  readonly #allowed = new Map<number, number>();
  readonly #entries = new Map<string, number>();

  get size(): number {
    return this.#entries.size;
  }

  /** Changes the lists, and says what that comes to. */
  apply(changes: { readonly allow?: Change6; readonly deny?: Change6 }): TrieChange {
    const touched = new Set<string>();
    for (const action of ['allow', 'deny'] as const) {
      const { add = [], remove = [] } = changes[action] ?? {};
      const list = this.#lists[action];
      for (const network of remove) {
        if (!list.delete(network)) continue;
        touched.add(network);
        if (action === 'allow') this.#count(network, -1);
      }
      for (const network of add) {
        if (list.has(network)) continue;
        list.add(network);
        touched.add(network);
        if (action === 'allow') this.#count(network, 1);
      }
      // Every denied network may lie in one that is allowed now, or was.
      if (action === 'allow' && touched.size > 0) for (const network of this.#lists.deny) touched.add(network);
    }
    const set: (readonly [string, number])[] = [];
    const gone: string[] = [];
    for (const network of touched) {
      const value = this.#valueOf(network);
      if (value === this.#entries.get(network)) continue;
      if (value === undefined) {
        this.#entries.delete(network);
        gone.push(network);
      } else {
        this.#entries.set(network, value);
        set.push([network, value]);
      }
    }
    return {
      set: set.toSorted(([a], [b]) => packedBits(b) - packedBits(a)),
      gone: gone.toSorted((a, b) => packedBits(a) - packedBits(b)),
    };
  }

  #count(network: string, step: number): void {
    const bits = packedBits(network);
    const count = (this.#allowed.get(bits) ?? 0) + step;
    if (count === 0) this.#allowed.delete(bits);
    else this.#allowed.set(bits, count);
  }

  #valueOf(network: string): number | undefined {
    const { allow, deny } = this.#lists;
    if (allow.has(network)) return Listed.ALLOW.number;
    if (!deny.has(network)) return undefined;
    const bits = packedBits(network);
    for (const wide of this.#allowed.keys()) if (wide < bits && allow.has(widenIpv6(network, wide))) return undefined;
    return Listed.DENY.number;
  }
}
