import { type Builder, type Int, struct, u32, u64 } from '../../ebpf/language.ts';

/** `struct bpf_sock_tuple` (linux/bpf.h), as words in memory order. */
const Tuple4 = struct('tuple4', { saddr: u32, daddr: u32, ports: u32 });
const Tuple6 = struct('tuple6', { saddr0: u64, saddr1: u64, daddr0: u64, daddr1: u64, ports: u32 });
/** The kernel takes the structures without our padding. */
const TUPLE_SIZE = { 4: 12, 6: 36 } as const;

/** Whose socket to look for, and the tuple's size in bytes. Words of addresses and ports are as they lie in memory. */
export function socketTuple<R>(
  $: Builder<R>,
  family: 4 | 6,
  source: readonly Int<64>[],
  destination: readonly Int<64>[],
  ports: Int<32>,
) {
  const tuple = family === 4 ? $.stack(Tuple4) : $.stack(Tuple6);
  const [saddr0, daddr0] = [source[0]!, destination[0]!];
  if (family === 4) tuple.set({ saddr: saddr0.u32(), daddr: daddr0.u32(), ports });
  else tuple.set({ saddr0, saddr1: source[1]!, daddr0, daddr1: destination[1]!, ports });
  return [tuple, TUPLE_SIZE[family]] as const;
}
