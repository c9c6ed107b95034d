import { type Builder, type Int, struct, u32, u64 } from '../../ebpf/language.ts';
import type { Address } from './address.ts';

/** `struct bpf_sock_tuple` (linux/bpf.h), as words in memory order. */
export const Tuple4 = struct('tuple4', { saddr: u32, daddr: u32, ports: u32 });
export const Tuple6 = struct('tuple6', { saddr0: u64, saddr1: u64, daddr0: u64, daddr1: u64, ports: u32 });
/** The kernel takes the structures without our padding. */
export const TUPLE_SIZE = { 4: 12, 6: 36 } as const;

/** Whose socket to look for, and the tuple's size in bytes. Ports are as they lie in memory. */
export function socketTuple<R>($: Builder<R>, source: Address, destination: Address, ports: Int<32>) {
  if (destination.family === 4) {
    const tuple = $.stack(Tuple4);
    tuple.set({ saddr: source.ipv4(), daddr: destination.ipv4(), ports });
    return [tuple, TUPLE_SIZE[4]] as const;
  }
  const tuple = $.stack(Tuple6);
  const [[saddr0, saddr1], [daddr0, daddr1]] = [source.pair($), destination.pair($)];
  tuple.set({ saddr0, saddr1, daddr0, daddr1, ports });
  return [tuple, TUPLE_SIZE[6]] as const;
}
