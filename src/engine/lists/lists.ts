import { addressKey } from '../../dataplane/frame/address-key.ts';
import { capacityFor, firstRoot, type ListMemory, ListTable, touchedRoots } from './list-table.ts';
import { ListTrie } from './list-trie.ts';
import type { ListCapacity } from '../../dataplane/maps.ts';
import type { ProtectionMaps } from '../../dataplane/pipeline.ts';
import { unpackIpv6 } from '../../net/ipv6-network.ts';
import { addNetwork, type NetworkList, NetworkListError, readNetworks } from '../../net/network-list.ts';
import { printable, shorten } from '../../net/quote.ts';
import type { Policy } from '../../policy/policy.ts';
import type { KernelMaps } from '../kernel-maps.ts';
import { Owned } from '../owned.ts';
import { transact } from '../transaction.ts';
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
  readonly #owned: Owned;
  readonly #table: ListTable;
  readonly #trie = new ListTrie();
  #lists: SourceLists;

  constructor(maps: KernelMaps, specs: ProtectionMaps, lists: SourceLists) {
    this.#maps = maps;
    this.#specs = specs;
    const { root, middle, leaf } = specs.lists;
    [this.#table, this.#owned] = Owned.make((owned) => {
      const words = (spec: typeof root | typeof leaf, perEntry: number): Uint32Array =>
        new Uint32Array(owned.own(maps.get(spec as typeof root).mmap()).memory, 0, spec.maxEntries * perEntry);
      const memory: ListMemory = { root: words(root, 256), middle: words(middle, 256), leaf: words(leaf, 16) };
      return [new ListTable(memory), owned] as const;
    });
    this.#lists = { allow: { v4: [], v6: [] }, deny: { v4: [], v6: [] } };
    try {
      this.replace(lists);
    } catch (error) {
      this.#owned[Symbol.dispose]();
      throw error;
    }
  }

  /** Whether there is room to replace the lists in place: new blocks are made beside the old ones. */
  fits(lists: SourceLists): boolean {
    const { allow, deny } = this.#changes(lists, ({ v4 }) => v4);
    const changed = touchedRoots([...allow.add, ...allow.remove, ...deny.add, ...deny.remove]);
    const anew = [...lists.allow.v4, ...lists.deny.v4].filter((network) => changed.has(firstRoot(network)));
    const six = this.#changes(lists, ({ v6 }) => v6);
    // Denied networks come back where what allowed them goes.
    const shown = six.allow.remove.length > 0 ? lists.deny.v6.length : six.deny.add.length;
    const { middle, leaf, networks6 } = capacityFor(anew, six.allow.add.length + shown, false);
    const { free } = this.#table;
    const { trie } = this.#specs.lists;
    return middle <= free.middle && leaf <= free.leaf && this.#trie.size + networks6 <= trie.maxEntries;
  }

  /**
   * Brings other lists into force, touching only what differs. Ask `fits` first.
   * @throws the kernel's error; the lists are unchanged then.
   */
  replace(lists: SourceLists): void {
    this.#apply(
      this.#changes(lists, ({ v4 }) => v4),
      this.#changes(lists, ({ v6 }) => v6),
    );
    this.#lists = lists;
  }

  #changes<T>(lists: SourceLists, pick: (list: NetworkList) => readonly T[]) {
    return {
      allow: difference(pick(this.#lists.allow), pick(lists.allow)),
      deny: difference(pick(this.#lists.deny), pick(lists.deny)),
    };
  }

  /** Adds networks that are not on it to a list, touching nothing else. @throws as `replace` does. */
  add(action: 'allow' | 'deny', networks: readonly string[]): void {
    const added: NetworkList = { v4: [], v6: [] };
    for (const text of networks) addNetwork(added, text);
    this.#apply({ [action]: { add: added.v4 } }, { [action]: { add: added.v6 } });
    for (const packed of added.v4) this.#lists[action].v4.push(packed);
    for (const packed of added.v6) this.#lists[action].v6.push(packed);
  }

  /** Changes everything, or throws and has changed nothing. */
  #apply(changes4: Changes<number>, changes6: Changes<string>): void {
    transact((transaction) => {
      const undo = (action: () => void): void => {
        transaction.step(() => undefined, action);
      };
      undo(() => {
        this.#tellState();
      });
      // Tables first: whether they fit is known before the first store.
      this.#table.apply(changes4);
      undo(() => {
        this.#table.apply(reversed(changes4));
      });
      // Before the act: the kernel may refuse the rest of it.
      undo(() => {
        this.#applyTrie(reversed(changes6));
      });
      this.#applyTrie(changes6);
      this.#tellState();
    });
  }

  #applyTrie(changes: Changes<string>): void {
    const { set, gone } = this.#trie.apply(changes);
    const trie = this.#maps.get(this.#specs.lists.trie);
    trie.updateMany(set.map(([packed, value]) => [addressKey(unpackIpv6(packed)), value] as const));
    trie.deleteMany(gone.map((packed) => addressKey(unpackIpv6(packed))));
  }

  /** Says which lists have anything in them. */
  #tellState(): void {
    const state = { listed4: this.#table.empty ? 0 : 1, listed6: this.#trie.size > 0 ? 1 : 0 };
    this.#maps.get(this.#specs.lists.state).update(0, state);
  }

  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}

type Changes<T> = Partial<Record<'allow' | 'deny', { readonly add?: readonly T[]; readonly remove?: readonly T[] }>>;

/** The reverse of changes, if none of them repeats an existing entry. */
function reversed<T>(changes: Changes<T>): Changes<T> {
  const entries = Object.entries(changes).map(
    ([action, { add = [], remove = [] }]) => [action, { add: remove, remove: add }] as const,
  );
  return Object.fromEntries(entries);
}

function difference<T>(before: readonly T[], after: readonly T[]): { add: T[]; remove: T[] } {
  if (before.length === 0) return { add: [...after], remove: [] };
  const [old, wanted] = [new Set(before), new Set(after)];
  return { add: after.filter((one) => !old.has(one)), remove: before.filter((one) => !wanted.has(one)) };
}
