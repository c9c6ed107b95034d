/** Files of networks, one a line, with comments: read fast, because they may have a million lines. */
import { type Cidr, parseCidr } from './address.ts';
import { packIpv6, readIpv6, unpackIpv6 } from './ipv6-network.ts';

/** IPv4 networks as numbers: address × 64 + bits, exact in a double. IPv6 networks as `packIpv6` gives them. */
export interface NetworkList {
  readonly v4: number[];
  readonly v6: string[];
}

export const packIpv4 = (address: number, bits: number): number => address * 64 + bits;

/** `a.b.c.d` or `a.b.c.d/n` between two places of a text, packed; undefined for anything else. */
function readIpv4(text: string, start: number, end: number): number | undefined {
  let address = 0;
  let part = -1;
  let parts = 0;
  let at = start;
  for (; at < end; at++) {
    const code = text.charCodeAt(at);
    if (code >= 48 && code <= 57) {
      part = part < 0 ? code - 48 : part * 10 + code - 48;
      if (part > 255) return undefined;
    } else if (code === 46 && part >= 0) {
      address = address * 256 + part;
      parts++;
      part = -1;
    } else break;
  }
  if (parts !== 3 || part < 0) return undefined;
  address = address * 256 + part;
  let bits = 32;
  if (at < end) {
    if (text.charCodeAt(at) !== 47 || at + 1 >= end || end - at > 3) return undefined;
    bits = Number(text.slice(at + 1, end));
    if (!(bits >= 0 && bits <= 32)) return undefined;
  }
  // Bits behind the prefix say nothing.
  const size = 2 ** (32 - bits);
  return packIpv4(Math.floor(address / size) * size, bits);
}

/** Puts a network into a list. @throws Error for what is none. */
export function addNetwork(list: NetworkList, text: string): void {
  const packed = readIpv4(text, 0, text.length);
  if (packed !== undefined) {
    list.v4.push(packed);
    return;
  }
  const packed6 = readIpv6(text, 0, text.length);
  if (packed6 !== undefined) {
    list.v6.push(packed6);
    return;
  }
  const cidr = parseCidr(text);
  if (cidr.address.length === 4) list.v4.push(packIpv4(Buffer.from(cidr.address).readUInt32BE(), cidr.bits));
  else list.v6.push(packIpv6(cidr));
}

/** Reads a file's text into a list: a network a line, `#` and `;` begin comments. @throws Error with the number of the line. */
export function readNetworks(text: string, list: NetworkList): void {
  let line = 1;
  for (let start = 0; start < text.length; line++) {
    let end = text.indexOf('\n', start);
    if (end < 0) end = text.length;
    let [first, last] = [start, start];
    while (first < end && text.charCodeAt(first) <= 32) first++;
    last = first;
    while (last < end) {
      const code = text.charCodeAt(last);
      if (code <= 32 || code === 35 || code === 59) break;
      last++;
    }
    if (last > first) {
      const packed = readIpv4(text, first, last);
      if (packed === undefined) {
        try {
          addNetwork(list, text.slice(first, last));
        } catch (error) {
          throw new Error(`line ${String(line)}: ${(error as Error).message}`, { cause: error });
        }
      } else list.v4.push(packed);
    }
    start = end + 1;
  }
}

/** The networks of a list, one form for all. */
export function networkCidrs({ v4, v6 }: NetworkList): Cidr[] {
  const unpacked = v4.map((packed): Cidr => {
    const address = Buffer.alloc(4);
    address.writeUInt32BE(Math.floor(packed / 64));
    return { address, bits: packed % 64 };
  });
  return [...unpacked, ...v6.map(unpackIpv6)];
}
