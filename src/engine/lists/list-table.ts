/**
 * The IPv4 lists as the tables that the program walks (`lists.ts`). For each first half of an address that a change touches, new tables are made in
 * blocks that are not in use, and come into force with one store to the root.
 */
import type { ListCapacity } from '../../dataplane/maps.ts';
import { FIRST_BLOCK, Listed, ROOT_ENTRIES } from '../../dataplane/stages/lists.ts';

/** Where the tables lie: memory of the kernel's maps, or anything of that size. */
export interface ListMemory {
  readonly root: Uint32Array;
  /** 256 entries a block. */
  readonly middle: Uint32Array;
  /** 16 words a block. */
  readonly leaf: Uint32Array;
}

type Action = 'allow' | 'deny';
const MIDDLE = 256;
const LEAF = 16;

/** Networks of one action: those of up to 16 bits, and the others by their first 16 bits. */
class Networks {
  readonly wide = new Set<number>();
  readonly narrow = new Map<number, Set<number>>();

  /** Whether it was not there. */
  add(network: number): boolean {
    const set = this.#setOf(network);
    return set.size < set.add(network).size;
  }

  /** Whether it was there. */
  delete(network: number): boolean {
    return this.#setOf(network).delete(network);
  }

  #setOf(network: number): Set<number> {
    if (network % 64 <= 16) return this.wide;
    const root = Math.floor(network / 2 ** 22);
    let set = this.narrow.get(root);
    if (!set) this.narrow.set(root, (set = new Set()));
    return set;
  }
}

const addressOf = (network: number): number => Math.floor(network / 64);
const rootsOf = (network: number): { first: number; count: number } => {
  const bits = network % 64;
  return { first: Math.floor(addressOf(network) / 65_536), count: bits < 16 ? 2 ** (16 - bits) : 1 };
};

/** The first half of a network's first address. */
export const firstRoot = (network: number): number => rootsOf(network).first;

/** The halves of addresses whose tables may change with these networks. */
export function touchedRoots(networks: readonly number[]): Set<number> {
  const touched = new Set<number>();
  for (const network of networks) {
    const { first, count } = rootsOf(network);
    for (let root = first; root < first + count; root++) touched.add(root);
  }
  return touched;
}

/** Blocks of one level. What the table no longer needs may still be read by a CPU, and is used again only after the next change. */
class Blocks {
  readonly #free: number[] = [];
  #retired: number[] = [];
  /** Those that the change under way took. */
  #taken: number[] = [];
  #next = 0;
  readonly #count: number;
  readonly #level: string;

  constructor(count: number, level: string) {
    this.#count = count;
    this.#level = level;
  }

  take(): number {
    if (this.#free.length === 0 && this.#next === this.#count)
      throw new RangeError(`fill lists: more than ${String(this.#count)} ${this.#level} blocks are needed`);
    const block = this.#free.pop() ?? this.#next++;
    this.#taken.push(block);
    return block;
  }

  retire(block: number): void {
    this.#retired.push(block);
  }

  /** How many the next change may take. */
  get free(): number {
    return this.#count - this.#next + this.#free.length + this.#retired.length;
  }

  /** Begins a change. */
  begin(): void {
    for (const block of this.#retired) this.#free.push(block);
    this.#retired = [];
    this.#taken = [];
  }

  /** Gives back what the change took; none of it was ever looked at. */
  abandon(): void {
    for (const block of this.#taken) this.#free.push(block);
    this.#retired = [];
    this.#taken = [];
  }
}

export class ListTable {
  readonly #memory: ListMemory;
  readonly #networks: Record<Action, Networks> = { allow: new Networks(), deny: new Networks() };
  readonly #middle: Blocks;
  readonly #leaf: Blocks;

  constructor(memory: ListMemory) {
    this.#memory = memory;
    this.#middle = new Blocks(memory.middle.length / MIDDLE, 'middle');
    this.#leaf = new Blocks(memory.leaf.length / LEAF, 'leaf');
  }

  /** Blocks that the next change may take. */
  get free(): { readonly middle: number; readonly leaf: number } {
    return { middle: this.#middle.free, leaf: this.#leaf.free };
  }

  get empty(): boolean {
    const used = ({ wide, narrow }: Networks): boolean =>
      wide.size > 0 || [...narrow.values()].some((set) => set.size > 0);
    return !used(this.#networks.allow) && !used(this.#networks.deny);
  }

  /**
   * Adds and removes packed networks; each address changes from its old answer to its new one at once.
   * @throws RangeError where they do not fit; nothing has changed then.
   */
  apply(
    changes: Partial<Record<Action, { readonly add?: readonly number[]; readonly remove?: readonly number[] }>>,
  ): void {
    this.#middle.begin();
    this.#leaf.begin();
    const done = (['allow', 'deny'] as const).map((action) => {
      const { add = [], remove = [] } = changes[action] ?? {};
      const networks = this.#networks[action];
      return {
        networks,
        removed: remove.filter((network) => networks.delete(network)),
        added: add.filter((network) => networks.add(network)),
      };
    });
    const painted: (readonly [root: number, entry: number])[] = [];
    try {
      const touched = touchedRoots(done.flatMap(({ removed, added }) => [...removed, ...added]));
      const wide = { allow: this.#wideRoots('allow'), deny: this.#wideRoots('deny') };
      for (const root of touched)
        painted.push([root, this.#painted(root, wide.allow[root] === 1, wide.deny[root] === 1)]);
    } catch (error) {
      for (const { networks, removed, added } of done) {
        for (const network of added) networks.delete(network);
        for (const network of removed) networks.add(network);
      }
      this.#middle.abandon();
      this.#leaf.abandon();
      throw error;
    }
    for (const [root, entry] of painted) this.#putIntoForce(root, entry);
  }

  #wideRoots(action: Action): Uint8Array {
    const covered = new Uint8Array(ROOT_ENTRIES);
    for (const network of this.#networks[action].wide) {
      const { first, count } = rootsOf(network);
      covered.fill(1, first, first + count);
    }
    return covered;
  }

  #putIntoForce(root: number, entry: number): void {
    const { middle, root: roots } = this.#memory;
    const old = roots[root]!;
    roots[root] = entry;
    if (old < FIRST_BLOCK) return;
    const block = old - FIRST_BLOCK;
    for (let at = block * MIDDLE; at < (block + 1) * MIDDLE; at++) {
      if (middle[at]! >= FIRST_BLOCK) this.#leaf.retire(middle[at]! - FIRST_BLOCK);
    }
    this.#middle.retire(block);
  }

  /** The tables of a half, made in blocks that nobody looks at yet; the entry of the root that leads to them. */
  #painted(root: number, allowed: boolean, denied: boolean): number {
    if (allowed) return Listed.ALLOW.number;
    const base = denied ? Listed.DENY.number : Listed.NO.number;
    const allow = this.#networks.allow.narrow.get(root);
    const deny = denied ? undefined : this.#networks.deny.narrow.get(root);
    if (!allow?.size && !deny?.size) return base;
    const block = this.#middle.take();
    this.#memory.middle.fill(base, block * MIDDLE, (block + 1) * MIDDLE);
    // The shorter ones first: networks inside them need no block.
    const paint = (set: ReadonlySet<number> | undefined, value: number): void => {
      if (!set) return;
      const networks = [...set];
      if (networks.length > 1) networks.sort((a, b) => (a % 64) - (b % 64));
      for (const network of networks) this.#paint(block, network, value);
    };
    paint(deny, Listed.DENY.number);
    paint(allow, Listed.ALLOW.number);
    return block + FIRST_BLOCK;
  }

  #paint(block: number, network: number, value: number): void {
    const { middle, leaf } = this.#memory;
    const [address, bits] = [addressOf(network), network % 64];
    const at = block * MIDDLE + (Math.floor(address / 256) & 0xff);
    if (bits <= 24) {
      for (let entry = at; entry < at + 2 ** (24 - bits); entry++) {
        if (middle[entry]! >= FIRST_BLOCK) this.#leaf.retire(middle[entry]! - FIRST_BLOCK);
        middle[entry] = value;
      }
      return;
    }
    const found = middle[at]!;
    if (found === value) return;
    if (found < FIRST_BLOCK) {
      const fresh = this.#leaf.take();
      leaf.fill(found * 0x5555_5555, fresh * LEAF, (fresh + 1) * LEAF);
      middle[at] = fresh + FIRST_BLOCK;
    }
    const start = (middle[at]! - FIRST_BLOCK) * LEAF;
    const first = address & 0xff;
    for (let last = first; last < first + 2 ** (32 - bits); last++) {
      const word = start + (last >> 4);
      const shift = (last & 15) * 2;
      leaf[word] = (leaf[word]! & ~(3 << shift)) | (value << shift);
    }
  }
}

/** How many blocks these networks need; with room for a quarter more, unless told otherwise. */
export function capacityFor(v4: readonly number[], networks6: number, withRoom = true): ListCapacity {
  const [middle, leaf] = [new Set<number>(), new Set<number>()];
  for (const network of v4) {
    const bits = network % 64;
    if (bits > 16) middle.add(Math.floor(network / 2 ** 22));
    if (bits > 24) leaf.add(Math.floor(network / 2 ** 14));
  }
  const room = (used: number, least: number): number => (withRoom ? Math.max(least, Math.ceil(used * 1.25)) : used);
  return { middle: room(middle.size, 256), leaf: room(leaf.size, 1024), networks6: room(networks6, 1024) };
}
