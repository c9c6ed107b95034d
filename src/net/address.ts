import ipaddr from 'ipaddr.js';

/** The bytes of an address, 4 or 16, in network order. @throws Error for what is none. */
export function addressBytes(text: string): Uint8Array {
  if (!ipaddr.isValid(text) || (!text.includes(':') && !ipaddr.IPv4.isValidFourPartDecimal(text))) {
    throw new Error(`read address ${text}: neither an IPv4 nor an IPv6 address`);
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

/** Reads `10.0.0.0/8`, or a single address as a network of one. */
export function parseCidr(text: string): Cidr {
  const [address = '', bits] = text.split('/');
  const bytes = addressBytes(address);
  const length = bits === undefined ? bytes.length * 8 : Number(bits);
  if (!/^\d+$/.test(bits ?? '0') || length > bytes.length * 8) {
    throw new Error(`read network ${text}: the prefix has 0 to ${String(bytes.length * 8)} bits`);
  }
  return { address: bytes, bits: length };
}

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

export function formatMac(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}
