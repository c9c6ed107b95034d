/** Headers as they lie in a frame, for the kernel program and for user space alike. Numbers are in network order. */
import { be16, be32, bytes, struct, u8 } from '../ebpf/language.ts';

/** IEEE 802.3 */
export const Eth = struct('eth', { dst: bytes(6), src: bytes(6), proto: be16 });

/** IEEE 802.1Q, after the addresses: priority, drop-eligible and VLAN number, then the type of what follows. */
export const Vlan = struct('vlan', { tci: be16, proto: be16 });

/** RFC 791 */
export const Ipv4 = struct('ipv4', {
  versionIhl: u8,
  tos: u8,
  totalLength: be16,
  id: be16,
  fragment: be16,
  ttl: u8,
  protocol: u8,
  checksum: be16,
  saddr: be32,
  daddr: be32,
});

/** RFC 8200, section 3 */
export const Ipv6 = struct('ipv6', {
  versionClassFlow: be32,
  payloadLength: be16,
  nextHeader: u8,
  hopLimit: u8,
  saddr: bytes(16),
  daddr: bytes(16),
});

/** What hop-by-hop, routing and destination options begin with (RFC 8200, section 4): their length is in units of 8 after the first 8. */
export const Ipv6Extension = struct('ipv6_ext', { nextHeader: u8, length: u8 });

/** RFC 8200, section 4.5 */
export const Ipv6Fragment = struct('ipv6_frag', { nextHeader: u8, reserved: u8, offset: be16, id: be32 });

/** RFC 9293, section 3.1; the data offset is in the upper half of its byte, in units of 4. */
export const Tcp = struct('tcp', {
  source: be16,
  dest: be16,
  seq: be32,
  ack: be32,
  dataOffset: u8,
  flags: u8,
  window: be16,
  checksum: be16,
  urgent: be16,
});

/** RFC 768 */
export const Udp = struct('udp', { source: be16, dest: be16, length: be16, checksum: be16 });

/** Types of payload (linux/if_ether.h). */
export const ETH_P = { IP: 0x0800, IPV6: 0x86dd, VLAN: 0x8100, QINQ: 0x88a8, QINQ_OLD: 0x9100, ARP: 0x0806 } as const;

/** IANA's protocol numbers, the IPv6 extension headers among them. */
export const IPPROTO = {
  HOPOPTS: 0,
  ICMP: 1,
  TCP: 6,
  UDP: 17,
  ROUTING: 43,
  FRAGMENT: 44,
  GRE: 47,
  AH: 51,
  ICMPV6: 58,
  NONE: 59,
  DSTOPTS: 60,
} as const;

/** Bits of the TCP flags byte. */
export const TCP_FLAG = {
  FIN: 0x01,
  SYN: 0x02,
  RST: 0x04,
  PSH: 0x08,
  ACK: 0x10,
  URG: 0x20,
  ECE: 0x40,
  CWR: 0x80,
} as const;

export type TcpFlag = keyof typeof TCP_FLAG;

/** In the fragment word of IPv4. */
export const IP_FRAGMENT = { MORE: 0x2000, DONT: 0x4000, OFFSET: 0x1fff } as const;

/** The flags that are set, in the order of their bits. */
export function flagNames(flags: number): TcpFlag[] {
  return (Object.keys(TCP_FLAG) as TcpFlag[]).filter((name) => (flags & TCP_FLAG[name]) !== 0);
}
