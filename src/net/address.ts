import ipaddr from 'ipaddr.js';
import { quote } from './quote.ts';

/** The bytes of an address, 4 or 16, in network order. @throws Error for any other text. */
export function addressBytes(text: string): Uint8Array {
  // The longest address has 45 characters; a zone (`%eth0`) means nothing to a packet.
  const sound = text.length <= 45 && !text.includes('%') && ipaddr.isValid(text);
  if (!sound || (!text.includes(':') && !ipaddr.IPv4.isValidFourPartDecimal(text))) {
    throw new Error(`read address ${quote(text)}: neither an IPv4 nor an IPv6 address`);
  }
  return Uint8Array.from(ipaddr.parse(text).toByteArray());
}

/** An address as people write it; IPv6 in its short form (RFC 5952). */
export function formatAddress(bytes: Uint8Array): string {
  return ipaddr.fromByteArray([...bytes]).toString();
}

export function ipv4Number(text: string): number {
  return Buffer.from(addressBytes(text)).readUInt32BE(0);
}

export function formatIpv4(number: number): string {
  return [24, 16, 8, 0].map((shift) => String((number >>> shift) & 0xff)).join('.');
}

/** A network: its first address and the number of significant bits. */
export interface Cidr {
  readonly address: Uint8Array;
  readonly bits: number;
}

/** The address with every bit behind the prefix cleared. */
export function maskAddress(address: Uint8Array, bits: number): Uint8Array {
  return address.map((byte, index) => byte & (0xff00 >> Math.min(8, Math.max(0, bits - index * 8))) & 0xff);
}

/**
 * Reads `10.0.0.0/8`, or a single address as a network of one. Bits behind the prefix are cleared. An IPv4-mapped network
 * (`::ffff:10.0.0.0/104`) is the IPv4 network, because that is what its packets carry; the whole mapped space (/96), which lists of
 * IPv6 bogons contain, stays an IPv6 network.
 */
export function parseCidr(text: string): Cidr {
  const slash = text.indexOf('/');
  const address = addressBytes(slash < 0 ? text : text.slice(0, slash));
  const size = address.length * 8;
  const prefix = slash < 0 ? String(size) : text.slice(slash + 1);
  const bits = Number(prefix);
  if (!/^(0|[1-9]\d{0,2})$/.test(prefix) || bits > size)
    throw new Error(`read network ${quote(text)}: the prefix has 0 to ${String(size)} bits`);
  if (isMapped(address) && bits > MAPPED_BITS)
    return { address: maskAddress(address.slice(MAPPED_BITS / 8), bits - MAPPED_BITS), bits: bits - MAPPED_BITS };
  return { address: maskAddress(address, bits), bits };
}

/** Leading bits of every IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2). */
export const MAPPED_BITS = 96;
const MAPPED = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

const isMapped = (address: Uint8Array): boolean =>
  address.length === 16 && MAPPED.every((byte, index) => address[index] === byte);

export function formatCidr({ address, bits }: Cidr): string {
  return bits === address.length * 8 ? formatAddress(address) : `${formatAddress(address)}/${String(bits)}`;
}

/** Whether an address lies in a network; never, where they are of different families. */
export function cidrContains({ address, bits }: Cidr, candidate: Uint8Array): boolean {
  if (address.length !== candidate.length) return false;
  return address.every((byte, index) => {
    const significant = Math.min(8, Math.max(0, bits - index * 8));
    const mask = (0xff00 >> significant) & 0xff;
    return (byte & mask) === (candidate[index]! & mask);
  });
}

export function parseMac(text: string): Uint8Array {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text))
    throw new Error(`read MAC address ${text}: six bytes in hex with colons are needed`);
  return Uint8Array.from(text.split(':').map((byte) => Number.parseInt(byte, 16)));
}
