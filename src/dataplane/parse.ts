import type { View, XdpBuilder, XdpPacket } from '../ebpf/language.ts';
import { ETH_P, Eth, IP_FRAGMENT, IPPROTO, Ipv4, Tcp } from '../net/headers.ts';
import type { Leave } from './verdict.ts';

/** The headers of a TCP segment over IPv4. */
export interface Segment {
  readonly ip: View<(typeof Ipv4)['fields']>;
  readonly tcp: View<(typeof Tcp)['fields']>;
}

/** Reads Ethernet, IPv4 with its options, and TCP; everything else leaves here. */
export function parseSegment($: XdpBuilder, packet: XdpPacket, leave: Leave): Segment {
  const eth = packet.take(Eth).orExit(() => leave('not-ip'));
  $.if(eth.proto.ne(ETH_P.IP), () => leave('not-ip'));
  const ip = packet.take(Ipv4).orExit(() => leave('truncated'));
  $.if(ip.protocol.ne(IPPROTO.TCP), () => leave('not-tcp'));
  $.if(ip.fragment.hasAny(IP_FRAGMENT.OFFSET), () => leave('fragment'));
  // The header length counts words of four bytes; below five it wraps to a large number and fails the bound.
  const options = ip.versionIhl.and(0x0f).shl(2).sub(Ipv4.size);
  packet.skip(options, { max: 40 }).orExit(() => leave('truncated'));
  const tcp = packet.take(Tcp).orExit(() => leave('truncated'));
  return { ip, tcp };
}
