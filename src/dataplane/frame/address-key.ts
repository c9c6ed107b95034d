import { be32, type Builder, type Infer, type Int, struct, u32 } from '../../ebpf/language.ts';
import type { Cidr } from '../../net/address.ts';
import type { Address } from './address.ts';

/**
 * A key of an address trie (`struct bpf_lpm_trie_key`); IPv4 is written as ::ffff:0:0/96, so one trie serves both. The address is in four
 * words.
 */
export const AddressKey = struct('address_key', { bits: u32, a: be32, b: be32, c: be32, d: be32 });

/** The key of a network in an address trie. */
export function addressKey({ address, bits }: Cidr): Infer<typeof AddressKey> {
  const mapped = Buffer.alloc(16);
  if (address.length === 16) mapped.set(address);
  else {
    mapped.set([0xff, 0xff], 10);
    mapped.set(address, 12);
  }
  const [a, b, c, d] = [0, 4, 8, 12].map((at) => mapped.readUInt32BE(at)) as [number, number, number, number];
  return { bits: address.length === 16 ? bits : bits + 96, a, b, c, d };
}

/** In the kernel: the key of an address. */
export function addressKeyFor<R>($: Builder<R>, address: Address) {
  const mapped = address.family === 4 ? [$.u32(0), $.u32(0), $.u32(0xffff_0000)] : [];
  const [a, b, c, d] = [...mapped, ...address.words32()] as [Int<32>, Int<32>, Int<32>, Int<32>];
  const key = $.stack(AddressKey);
  key.set({ bits: 128 });
  key.ref('a').setRaw(a);
  key.ref('b').setRaw(b);
  key.ref('c').setRaw(c);
  key.ref('d').setRaw(d);
  return key;
}
