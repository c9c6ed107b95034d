import type { HelperName } from './helper-arguments.ts';

/** Helpers after which the verifier takes no pointer into the packet from before (bpf_helper_changes_pkt_data, net/core/filter.c, compared with Linux 6.18). */
const CHANGES_PACKET: ReadonlySet<HelperName> = new Set<HelperName>([
  'clone_redirect',
  'l3_csum_replace',
  'l4_csum_replace',
  'lwt_push_encap',
  'lwt_seg6_action',
  'lwt_seg6_adjust_srh',
  'lwt_seg6_store_bytes',
  'msg_pop_data',
  'msg_pull_data',
  'msg_push_data',
  'skb_adjust_room',
  'skb_change_head',
  'skb_change_proto',
  'skb_change_tail',
  'skb_pull_data',
  'skb_store_bytes',
  'skb_vlan_pop',
  'skb_vlan_push',
  'store_hdr_opt',
  'tail_call',
  'xdp_adjust_head',
  'xdp_adjust_meta',
  'xdp_adjust_tail',
]);

export function changesPacket(name: HelperName): boolean {
  return CHANGES_PACKET.has(name);
}

/** Functions of the kernel of the same kind (is_kfunc_pkt_changing, kernel/bpf/verifier.c, Linux 6.18). */
const KERNEL_FUNCTIONS_CHANGING_PACKET: ReadonlySet<string> = new Set(['bpf_xdp_pull_data']);

export function kernelFunctionChangesPacket(name: string): boolean {
  return KERNEL_FUNCTIONS_CHANGING_PACKET.has(name);
}
