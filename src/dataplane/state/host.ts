/**
 * Who this host is: the addresses that it takes packets for, and the link-layer addresses that lead to it. Linux drops a SYN to another host's link-layer address, to many, or to an address that is
 * not its own, even where a listener on every address would fit (`tcp_v4_rcv`, `tcp_v4_conn_request`); so none is answered. User space keeps both current.
 */
import {
  array,
  arrayMap,
  type Builder,
  type Condition,
  type GlobalFunc,
  globalFunc,
  type Int,
  lpmTrie,
  type Packet,
  struct,
  u32,
  u64,
} from '../../ebpf/language.ts';
import type { Address } from '../frame/address.ts';
import { AddressKey, addressKeyFor } from '../frame/address-key.ts';
import { mapGroup } from '../maps.ts';

/** Interfaces above the protected one beyond these are not answered for. */
export const MOST_LINKS = 8;
/** Link-layer addresses, as their six bytes lie in the low ones of a word; the rest are `NO_LINK`. */
export const Links = struct('host_links', { addresses: array(u64, MOST_LINKS) });
export const NO_LINK = 0xffff_ffff_ffff_ffffn;

/** A trie takes memory for what is in it. */
const MOST_ADDRESSES = 1 << 14;

export const hostGroup = mapGroup({
  specs: () => ({
    links: arrayMap('host_links', { value: Links, maxEntries: 1, mmap: true }),
    local: lpmTrie('local', { key: AddressKey, value: u32, maxEntries: MOST_ADDRESSES }),
  }),
});
export type HostMaps = ReturnType<typeof hostGroup.specs>;

const EthStart = struct('eth_start', { word: u64 });
const SIX_BYTES = 0xffff_ffff_ffffn;
/** Of the first byte: a group, not one station (IEEE 802, clause 8.2.2). */
const GROUP = 1;

type ForUs = GlobalFunc<readonly ['packet'], 32>;
/** By the map that it reads: all that ask call the same function, which the verifier walks once. */
const forUs = new WeakMap<HostMaps['links'], ForUs>();

const makeForUs = (links: HostMaps['links']): ForUs =>
  globalFunc('is_for_us', ['packet'], 32, ($, packet) => {
    const { word } = packet.peek(EthStart).orExit(0);
    const destination = word.and(SIX_BYTES);
    const { addresses } = $.at(links, 0);
    const known = Array.from({ length: MOST_LINKS }, (_, at) => destination.eq(addresses.at(at)));
    $.if(
      word
        .shr(48)
        .and(GROUP)
        .eq(0)
        .and(known.reduce((any, one) => any.or(one))),
      () => 1,
    );
    return 0;
  });

/** 1 where an Ethernet frame was sent to this host, by one station. */
export function isForUs<R>($: Builder<R>, packet: Packet<R>, { links }: HostMaps): Int<32> {
  const made = forUs.get(links) ?? makeForUs(links);
  forUs.set(links, made);
  return $.invoke(made, packet);
}

/** Whether an address is of one host. */
export const isUnicast = (address: Address): Condition =>
  address.family === 4 ? address.firstByte().lt(224) : address.firstByte().ne(0xff);

/** 1 where an address is this host's. */
export function isLocal<R>($: Builder<R>, { local }: HostMaps, address: Address): Int<32> {
  const found = $.let($.u32(0));
  $.lookup(local, addressKeyFor($, address)).match({
    some: () => {
      found.set(1);
    },
  });
  return found.value;
}
