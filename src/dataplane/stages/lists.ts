/**
 * The operator's lists of sources. IPv4: a tree of arrays by the first 16 bits, the next 8 and the last 8, whose leaves hold two
 * bits an address: at most three loads, of which the first hits a table of 256 KiB. IPv6: the kernel's longest-prefix trie.
 */
import {
  array,
  arrayMap,
  type Builder,
  enumOf,
  type EnumValue,
  type Int,
  type IntVariable,
  lpmTrie,
  struct,
  u32,
} from '../../ebpf/language.ts';
import { addressBytes, cidrContains, formatCidr } from '../../net/address.ts';
import { networkCidrs } from '../../net/network-list.ts';
import type { Address } from '../frame/address.ts';
import { AddressKey, addressKeyFor } from '../frame/address-key.ts';
import { type ListCapacity, mapGroup } from '../maps.ts';
import { stage } from '../stage.ts';

/** The result of a list look-up. The allow list wins over the deny list. */
export const Listed = enumOf('listed', { NO: 0, ALLOW: 1, DENY: 2 });
/** Entries of a table from here on are numbers of blocks in the next one. */
export const FIRST_BLOCK = 4;

/** By an octet. Blocks hold 256 entries because the elements of an array map take 8 bytes at least. */
const OctetBlock = struct('list_octet', { entries: array(u32, 256) });
/** Two bits for each last octet, sixteen in a word. */
const LeafBlock = struct('list_leaf', { words: array(u32, 16) });
export const ROOT_ENTRIES = 65_536;
/** Whether there is anything on the lists of each family. */
const ListState = struct('list_state', { listed4: u32, listed6: u32 });

function listMaps({ middle, leaf, networks6 }: ListCapacity) {
  return {
    state: arrayMap('list_state', { value: ListState, maxEntries: 1 }),
    root: arrayMap('list_root', { value: OctetBlock, maxEntries: ROOT_ENTRIES / 256, mmap: true }),
    middle: arrayMap('list_middle', { value: OctetBlock, maxEntries: middle, mmap: true }),
    leaf: arrayMap('list_leaf', { value: LeafBlock, maxEntries: leaf, mmap: true }),
    trie: lpmTrie('list_v6', { key: AddressKey, value: u32, maxEntries: networks6 }),
  };
}

export type ListMaps = ReturnType<typeof listMaps>;

/** Empty at first; user space fills them from the policy and its files. */
export const listGroup = mapGroup({
  specs: (given) => ({ lists: listMaps(given.lists) }),
  contents: ({ lists: maps }) => Object.values(maps).map((map) => ({ map, entries: [] })),
});

/** What the lists say of a source. */
export function listed<R>($: Builder<R>, lists: ListMaps, source: Address): EnumValue<'listed'> {
  const found = $.let($.u32(Listed.NO.number));
  const state = $.at(lists.state, 0);
  $.if((source.family === 4 ? state.listed4 : state.listed6).ne(0), () => {
    if (source.family === 4) walk($, lists, source.ipv4(), found);
    else {
      $.lookup(lists.trie, addressKeyFor($, source)).match({
        some: (entry) => {
          found.set(entry.value);
        },
      });
    }
  });
  return Listed.of(found);
}

/** The address as it lies in memory: its first octet is the lowest in the register. */
function walk<R>($: Builder<R>, lists: ListMaps, address: Int<32>, found: IntVariable<32>): void {
  $.lookup(lists.root, address.and(0xff)).match({
    some: (block) => {
      found.set(block.entries.at(address.shr(8).and(0xff)));
    },
  });
  $.if(found.ge(FIRST_BLOCK), () => {
    $.lookup(lists.middle, found.sub(FIRST_BLOCK)).match({
      some: (block) => {
        found.set(block.entries.at(address.shr(16).and(0xff)));
      },
    });
    $.if(found.ge(FIRST_BLOCK), () => {
      $.lookup(lists.leaf, found.sub(FIRST_BLOCK)).match({
        some: (block) => {
          const last = address.shr(24);
          const bits = block.words.at(last.shr(4).and(15)).shr(last.and(15).shl(1));
          found.set(bits.and(3));
        },
      });
    });
  });
}

export const lists = stage({
  name: 'lists',
  decides: 'Lists: an allowed source passes, a denied one is dropped.',
  reasons: {
    allowed: { number: 4, verdict: 'pass', description: 'from a source on the allow list' },
    denied: { number: 18, verdict: 'drop', often: true, description: 'from a source on the deny list' },
  },
  maps: [listGroup],
  reads: ['lists'],
  build($, { source }, context) {
    const found = listed($, context.maps.lists, source);
    $.if(found.eq(Listed.ALLOW), () => context.leave(lists.reasons.allowed));
    $.if(found.eq(Listed.DENY), () => context.end(lists.reasons.denied));
  },
  explain({ frame: { ip }, lists: given }) {
    if (!ip) return '';
    const source = addressBytes(ip.src);
    const hits = (['allow', 'deny'] as const).flatMap((action) => {
      const network = networkCidrs(given[action]).find((cidr) => cidrContains(cidr, source));
      return network ? [`${action} has ${formatCidr(network)}`] : [];
    });
    return `source ${ip.src}: ${hits.join(', ') || 'on no list'}`;
  },
});
