/** Files of networks, one a line, with comments: read fast, because they may have a million lines. */
import { type Cidr, MAPPED_BITS, parseCidr } from './address.ts';
import { packedBits, packIpv6, readIpv6, unpackIpv6 } from './ipv6-network.ts';
import { quote } from './quote.ts';

/** IPv4 networks as numbers: address × 64 + bits, exact in a double. IPv6 networks as `packIpv6` gives them. */
export interface NetworkList {
  readonly v4: number[];
  readonly v6: string[];
}

export const packIpv4 = (address: number, bits: number): number => address * 64 + bits;

const [TAB, CARRIAGE_RETURN, SPACE, HASH, DOT, SLASH, ZERO, NINE, SEMICOLON] = [9, 13, 32, 35, 46, 47, 48, 57, 59];

/** A prefix length between two places of a text; undefined for anything but 0 to 32, without leading zeros. */
function readBits(text: string, start: number, end: number): number | undefined {
  if (end <= start || end - start > 2 || (end - start === 2 && text.charCodeAt(start) === ZERO)) return undefined;
  let bits = 0;
  for (let at = start; at < end; at++) {
    const code = text.charCodeAt(at);
    if (code < ZERO || code > NINE) return undefined;
    bits = bits * 10 + code - ZERO;
  }
  return bits <= 32 ? bits : undefined;
}

/** `a.b.c.d` or `a.b.c.d/n` between two places of a text, packed; undefined for anything else, leading zeros included. */
function readIpv4(text: string, start: number, end: number): number | undefined {
  let address = 0;
  let part = -1;
  let parts = 0;
  let at = start;
  for (; at < end; at++) {
    const code = text.charCodeAt(at);
    if (code >= ZERO && code <= NINE) {
      // Some programs read 010 as octal, so it is ambiguous and refused.
      if (part === 0) return undefined;
      part = part < 0 ? code - ZERO : part * 10 + code - ZERO;
      if (part > 255) return undefined;
    } else if (code === DOT && part >= 0) {
      address = address * 256 + part;
      parts++;
      part = -1;
    } else break;
  }
  if (parts !== 3 || part < 0) return undefined;
  address = address * 256 + part;
  let bits: number | undefined = 32;
  if (at < end) {
    if (text.charCodeAt(at) !== SLASH) return undefined;
    bits = readBits(text, at + 1, end);
    if (bits === undefined) return undefined;
  }
  // Bits behind the prefix say nothing.
  const size = 2 ** (32 - bits);
  return packIpv4(Math.floor(address / size) * size, bits);
}

/** The leading 12 bytes of a packed IPv4-mapped network. */
const MAPPED = '\0\0\0\0\0\0\0\0\0\0\xff\xff';

/** Puts a network into a list. @throws Error for any other text. */
export function addNetwork(list: NetworkList, text: string): void {
  const packed = readIpv4(text, 0, text.length);
  if (packed !== undefined) {
    list.v4.push(packed);
    return;
  }
  const packed6 = readIpv6(text, 0, text.length);
  if (packed6 !== undefined && !(packed6.startsWith(MAPPED) && packedBits(packed6) > MAPPED_BITS)) {
    list.v6.push(packed6);
    return;
  }
  const cidr = parseCidr(text);
  if (cidr.address.length === 4) list.v4.push(packIpv4(Buffer.from(cidr.address).readUInt32BE(), cidr.bits));
  else list.v6.push(packIpv6(cidr));
}

/** A line of a file of networks that says something else. Line and column count from 1. */
export class NetworkListError extends Error {
  readonly line: number;
  readonly column: number;
  constructor(line: number, column: number, reason: string, options?: ErrorOptions) {
    super(reason, options);
    this.name = 'NetworkListError';
    this.line = line;
    this.column = column;
  }
}

const BYTE_ORDER_MARK = '\xef\xbb\xbf';

const isBlank = (code: number): boolean => code === SPACE || code === TAB;
const isComment = (code: number): boolean => code === HASH || code === SEMICOLON;

/**
 * Reads a file's bytes (latin1) into a list: one network a line, between spaces and tabs; `#` and `;` begin comments; lines end
 * with LF or CR LF; a UTF-8 byte-order mark may come first. @throws NetworkListError for anything else.
 */
export function readNetworks(text: string, list: NetworkList): void {
  let line = 1;
  for (let start = text.startsWith(BYTE_ORDER_MARK) ? BYTE_ORDER_MARK.length : 0; start < text.length; line++) {
    const next = text.indexOf('\n', start);
    const feed = next < 0 ? text.length : next;
    // A last line without LF may end with CR too.
    const end = feed > start && text.charCodeAt(feed - 1) === CARRIAGE_RETURN ? feed - 1 : feed;
    let first = start;
    while (first < end && isBlank(text.charCodeAt(first))) first++;
    let last = first;
    while (last < end && !isBlank(text.charCodeAt(last)) && !isComment(text.charCodeAt(last))) last++;
    if (last > first) {
      const packed = readIpv4(text, first, last);
      if (packed === undefined) {
        try {
          addNetwork(list, text.slice(first, last));
        } catch (error) {
          const word = text.slice(first, last);
          const reason = word.includes(',')
            ? `${quote(word)} has a comma; write one network a line`
            : (error as Error).message;
          throw new NetworkListError(line, first - start + 1, reason, { cause: error });
        }
      } else list.v4.push(packed);
    }
    let rest = last;
    while (rest < end && isBlank(text.charCodeAt(rest))) rest++;
    if (rest < end && !isComment(text.charCodeAt(rest)))
      throw new NetworkListError(
        line,
        rest - start + 1,
        `${quote(text.slice(rest, end))} follows the network; write one network a line, and # before a comment`,
      );
    start = feed + 1;
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
