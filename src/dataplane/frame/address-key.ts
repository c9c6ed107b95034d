import { type Builder, bytes, type Int, struct, u32 } from '../../ebpf/language.ts';
import type { Cidr } from '../../net/address.ts';
import type { Address } from './address.ts';

/** A key of an address trie (`struct bpf_lpm_trie_key`); IPv4 is written as ::ffff:0:0/96, so one trie serves both. */
export const AddressKey = struct('address_key', { bits: u32, address: bytes(16) });
/** The same, for writing it word by word. */
const AddressKeyWords = struct('address_key', { bits: u32, a: u32, b: u32, c: u32, d: u32 });

/** The key of a network in an address trie. */
export function addressKey({ address, bits }: Cidr): { readonly bits: number; readonly address: Uint8Array } {
  if (address.length === 16) return { bits, address };
  const mapped = new Uint8Array(16);
  mapped.set([0xff, 0xff], 10);
  mapped.set(address, 12);
  return { bits: bits + 96, address: mapped };
}

/** In the kernel: the key of an address. */
export function addressKeyFor<R>($: Builder<R>, address: Address) {
  const mapped = address.family === 4 ? [$.u32(0), $.u32(0), $.u32(0xffff_0000)] : [];
  const [a, b, c, d] = [...mapped, ...address.words32()] as [Int<32>, Int<32>, Int<32>, Int<32>];
  const key = $.stack(AddressKeyWords);
  key.set({ bits: 128, a, b, c, d });
  return key;
}
