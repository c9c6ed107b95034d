/** The headers that the examples read. One definition for the kernel and for user space; `be16` is a number in network order. */
import { be16, be32, bytes, struct, u8 } from 'seawall/ebpf';

export const Eth = struct('eth', { dst: bytes(6), src: bytes(6), proto: be16 });
export const Ipv4 = struct('ipv4', {
  versionIhl: u8,
  tos: u8,
  length: be16,
  id: be16,
  fragment: be16,
  ttl: u8,
  protocol: u8,
  checksum: be16,
  source: be32,
  destination: be32,
});
export const Ports = struct('ports', { source: be16, destination: be16 });
export const Udp = struct('udp', { source: be16, destination: be16, length: be16, checksum: be16 });
export const Icmp = struct('icmp', { type: u8, code: u8, checksum: be16, id: be16, sequence: be16 });

export const IPV4 = 0x0800;
export const ICMP = 1;
export const TCP = 6;
export const UDP = 17;

/** An IPv4 address as the number that a `be32` field compares with. */
export function ipv4(text: string): number {
  return Buffer.from(text.split('.').map(Number)).readUInt32BE(0);
}

/** The text of such a number. */
export function ipv4Text(address: number): string {
  const octets = Buffer.alloc(4);
  octets.writeUInt32BE(address);
  return octets.join('.');
}
