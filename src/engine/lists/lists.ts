import { addressKey } from '../../dataplane/frame/address-key.ts';
import { capacityFor, type ListMemory, ListTable } from './list-table.ts';
import { ListTrie } from './list-trie.ts';
import type { ListCapacity } from '../../dataplane/maps.ts';
import type { ProtectionMaps } from '../../dataplane/pipeline.ts';
import { unpackIpv6 } from '../../net/ipv6-network.ts';
import { addNetwork, type NetworkList, NetworkListError, readNetworks } from '../../net/network-list.ts';
import { printable, shorten } from '../../net/quote.ts';
import type { Policy } from '../../policy/policy.ts';
import type { KernelMaps } from '../kernel-maps.ts';
import { PolicyError } from '../../policy/policy-error.ts';
import { FileLimit, readRegularFile } from '../regular-file.ts';

/** What the policy and its files say of sources. */
export interface SourceLists {
  readonly allow: NetworkList;
  readonly deny: NetworkList;
}

/** Reads a policy's lists and the files they name. @throws PolicyError with file and line. */
export function readLists({ lists }: Policy): SourceLists {
  const list = (inline: readonly string[], files: readonly string[], key: string): NetworkList => {
    const networks: NetworkList = { v4: [], v6: [] };
    for (const text of inline) addNetwork(networks, text);
    files.forEach((file, index) => {
      try {
        readNetworks(readRegularFile(file, FileLimit.LIST).toString('latin1'), networks);
      } catch (error) {
        const { message } = error as Error;
        const place =
          error instanceof NetworkListError
            ? `${printable(shorten(file, 300))}:${String(error.line)}: column ${String(error.column)}: `
            : '';
        throw new PolicyError(`lists.${key}.${String(index)}`, `${place}${message}`, { cause: error });
      }
    });
    return networks;
  };
  return {
    allow: list(lists.allow, lists.allowFiles, 'allow-files'),
    deny: list(lists.deny, lists.denyFiles, 'deny-files'),
  };
}

export function listCapacity({ allow, deny }: SourceLists): ListCapacity {
  return capacityFor([...allow.v4, ...deny.v4], allow.v6.length + deny.v6.length);
}

/** The lists in force in the kernel; changed in place, without a new program. */
export class LiveLists implements Disposable {
  readonly #maps: KernelMaps;
  readonly #specs: ProtectionMaps;
  readonly #mappings: readonly { readonly memory: ArrayBuffer; [Symbol.dispose](): void }[];
  readonly #table: ListTable;
  readonly #trie = new ListTrie();
  #lists: SourceLists;

  constructor(maps: KernelMaps, specs: ProtectionMaps, lists: SourceLists) {
    this.#maps = maps;
    this.#specs = specs;
    const { root, middle, leaf } = specs.lists;
    const mappings = [maps.get(root), maps.get(middle), maps.get(leaf)].map((map) => map.mmap());
    this.#mappings = mappings;
    const words = (index: number, entries: number): Uint32Array => new Uint32Array(mappings[index]!.memory, 0, entries);
    const memory: ListMemory = {
      root: words(0, root.maxEntries * 256),
      middle: words(1, middle.maxEntries * 256),
      leaf: words(2, leaf.maxEntries * 16),
    };
    this.#table = new ListTable(memory);
    this.#lists = { allow: { v4: [], v6: [] }, deny: { v4: [], v6: [] } };
    this.replace(lists);
  }

  /** Brings other lists into force: only what differs is touched. */
  replace(lists: SourceLists): void {
    const changes = <T>(pick: (list: NetworkList) => readonly T[]) => ({
      allow: difference(pick(this.#lists.allow), pick(lists.allow)),
      deny: difference(pick(this.#lists.deny), pick(lists.deny)),
    });
    this.#apply(
      changes(({ v4 }) => v4),
      changes(({ v6 }) => v6),
    );
    this.#lists = lists;
  }

  /** Adds networks to a list, touching nothing else. */
  add(action: 'allow' | 'deny', networks: readonly string[]): void {
    const added: NetworkList = { v4: [], v6: [] };
    for (const text of networks) addNetwork(added, text);
    this.#apply({ [action]: { add: added.v4 } }, { [action]: { add: added.v6 } });
    for (const packed of added.v4) this.#lists[action].v4.push(packed);
    for (const packed of added.v6) this.#lists[action].v6.push(packed);
  }

  #apply(changes4: Parameters<ListTable['apply']>[0], changes6: Parameters<ListTrie['apply']>[0]): void {
    this.#table.apply(changes4);
    const { set, gone } = this.#trie.apply(changes6);
    const trie = this.#maps.get(this.#specs.lists.trie);
    trie.deleteMany(gone.map((packed) => addressKey(unpackIpv6(packed))));
    trie.updateMany(set.map(([packed, value]) => [addressKey(unpackIpv6(packed)), value] as const));
    const state = { listed4: this.#table.empty ? 0 : 1, listed6: this.#trie.size > 0 ? 1 : 0 };
    this.#maps.get(this.#specs.lists.state).update(0, state);
  }

  [Symbol.dispose](): void {
    for (const mapping of this.#mappings) mapping[Symbol.dispose]();
  }
}

function difference<T>(before: readonly T[], after: readonly T[]): { add: T[]; remove: T[] } {
  if (before.length === 0) return { add: [...after], remove: [] };
  const [old, wanted] = [new Set(before), new Set(after)];
  return { add: after.filter((one) => !old.has(one)), remove: before.filter((one) => !wanted.has(one)) };
}
