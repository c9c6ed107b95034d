import { readFileSync } from 'node:fs';
import { addressKey } from '../dataplane/address-key.ts';
import { capacityFor, type ListMemory, ListTable } from '../dataplane/list-table.ts';
import { type ListCapacity, Listed } from '../dataplane/lists.ts';
import type { ProtectionMaps } from '../dataplane/maps.ts';
import { PolicyError } from '../ebpf/index.ts';
import { type Cidr, cidrContains, formatCidr } from '../net/address.ts';
import { addNetwork, type NetworkList, readNetworks } from '../net/network-list.ts';
import type { Policy } from '../policy/policy.ts';
import type { KernelMaps } from './kernel-maps.ts';

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
    for (const file of files) {
      try {
        readNetworks(readFileSync(file, 'latin1'), networks);
      } catch (error) {
        throw new PolicyError(`lists.${key}`, `${file}: ${(error as Error).message}`, { cause: error });
      }
    }
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
    const changes = (action: 'allow' | 'deny') => difference(this.#lists[action].v4, lists[action].v4);
    this.#table.apply({ allow: changes('allow'), deny: changes('deny') });
    const networks6 = this.#replaceTrie(lists);
    this.#setState(networks6);
    this.#lists = lists;
  }

  /** Adds networks to a list, touching nothing else. */
  add(action: 'allow' | 'deny', networks: readonly string[]): void {
    const added: NetworkList = { v4: [], v6: [] };
    for (const text of networks) addNetwork(added, text);
    this.#table.apply({ [action]: { add: added.v4 } });
    for (const packed of added.v4) this.#lists[action].v4.push(packed);
    const { v6 } = this.#lists[action];
    const lists = { ...this.#lists, [action]: { v4: this.#lists[action].v4, v6: [...v6, ...added.v6] } };
    const networks6 = this.#replaceTrie(lists);
    this.#lists = lists;
    this.#setState(networks6);
  }

  #setState(networks6: number): void {
    const state = { listed4: this.#table.empty ? 0 : 1, listed6: networks6 > 0 ? 1 : 0 };
    this.#maps.get(this.#specs.lists.state).update(0, state);
  }

  #replaceTrie(lists: SourceLists): number {
    const trie = this.#maps.get(this.#specs.lists.trie);
    const entries = trieEntries(lists);
    const before = trieEntries(this.#lists);
    const gone = [...before].filter(([text]) => !entries.has(text)).map(([, { cidr }]) => addressKey(cidr));
    trie.deleteMany(gone);
    const fresh = [...entries].filter(([text, { value }]) => before.get(text)?.value !== value);
    trie.updateMany(fresh.map(([, { cidr, value }]) => [addressKey(cidr), value] as const));
    return entries.size;
  }

  [Symbol.dispose](): void {
    for (const mapping of this.#mappings) mapping[Symbol.dispose]();
  }
}

function difference(before: readonly number[], after: readonly number[]): { add: number[]; remove: number[] } {
  if (before.length === 0) return { add: [...after], remove: [] };
  const [old, wanted] = [new Set(before), new Set(after)];
  return { add: after.filter((one) => !old.has(one)), remove: before.filter((one) => !wanted.has(one)) };
}

/** The longest prefix decides in a trie, so a denied network inside an allowed one is left out. */
function trieEntries({ allow, deny }: SourceLists): Map<string, { readonly cidr: Cidr; readonly value: number }> {
  const entries = new Map<string, { cidr: Cidr; value: number }>();
  for (const cidr of deny.v6) {
    if (allow.v6.some((wide) => wide.bits <= cidr.bits && cidrContains(wide, cidr.address))) continue;
    entries.set(formatCidr(cidr), { cidr, value: Listed.DENY });
  }
  for (const cidr of allow.v6) entries.set(formatCidr(cidr), { cidr, value: Listed.ALLOW });
  return entries;
}
