import type { Operand } from '../ir/ir.ts';
import type { BuilderCore } from './blocks.ts';
import type { ContextValue } from './helper-arguments.ts';
import { Int } from './int.ts';

/** What looks an entry of the connection tracking up, by the type of the context, and what gives it back. Linux 6.0. */
export const CONNTRACK_LOOKUP = { xdp_md: 'bpf_xdp_ct_lookup', __sk_buff: 'bpf_skb_ct_lookup' } as const;
const CONNTRACK_RELEASE = 'bpf_ct_release';
/** `struct bpf_ct_opts` (net/netfilter/nf_conntrack_bpf.c) as every kernel takes it: network namespace, error, protocol and 3 bytes. */
const OPTIONS_SIZE = 12;
const CURRENT_NETNS = 0xffff_ffffn;

/** 1 where the connection tracking of the packet's network namespace has an entry for a tuple of this protocol, in either direction. */
export function isTracked<R>(
  core: BuilderCore<R>,
  packet: ContextValue,
  name: string,
  tuple: Operand,
  size: number,
  protocol: number,
): Int<32> {
  const { emitter } = core;
  const slot = emitter.slot(16);
  const to = (offset: number) => ({ base: { slot }, offset });
  emitter.emit({ op: 'store', size: 8, to: to(0), src: CURRENT_NETNS, note: 'bpf_ct_opts' });
  emitter.emit({ op: 'store', size: 8, to: to(8), src: BigInt(protocol), note: 'bpf_ct_opts' });
  const options = emitter.frameAddress(slot, 0);
  const [entry, found] = [emitter.vreg(), emitter.vreg()];
  emitter.emit({
    op: 'kernelCall',
    name,
    args: [packet.context, tuple, BigInt(size), options, BigInt(OPTIONS_SIZE)],
    dst: entry,
    note: name,
  });
  emitter.emit({ op: 'mov', dst: found, src: 0n });
  core.either(
    { kind: 'compare', compare: 'ne', width: 64, a: entry, b: 0n },
    () => {
      emitter.emit({ op: 'kernelCall', name: CONNTRACK_RELEASE, args: [entry], note: CONNTRACK_RELEASE });
      emitter.emit({ op: 'mov', dst: found, src: 1n });
    },
    undefined,
  );
  return new Int(emitter, 32, found);
}
