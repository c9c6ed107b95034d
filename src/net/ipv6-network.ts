/** IPv6 networks in bulk: as strings of 17 characters, the 16 bytes of the address and the number of bits, so that sets and maps take them by value. */
import type { Cidr } from './address.ts';

const BYTES = 16;
const scratch = Buffer.alloc(BYTES + 1);

/** Packs what the scratch holds; bits behind the prefix say nothing. */
function packScratch(bits: number): string {
  const whole = bits >> 3;
  if (whole < BYTES) {
    scratch[whole]! &= (0xff00 >> (bits & 7)) & 0xff;
    scratch.fill(0, whole + 1, BYTES);
  }
  scratch[BYTES] = bits;
  return scratch.toString('latin1');
}

export function packIpv6({ address, bits }: Cidr): string {
  scratch.set(address);
  return packScratch(bits);
}

export function unpackIpv6(packed: string): Cidr {
  const bytes = Buffer.from(packed, 'latin1');
  return { address: bytes.subarray(0, BYTES), bits: bytes[BYTES]! };
}

export const packedBits = (packed: string): number => packed.charCodeAt(BYTES);

/** The network of so many bits around a packed one. */
export function widenIpv6(packed: string, bits: number): string {
  scratch.write(packed, 'latin1');
  return packScratch(bits);
}

const COLON = 58;
const SLASH = 47;

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  const letter = code | 32;
  return letter >= 97 && letter <= 102 ? letter - 87 : -1;
}

/**
 * `a:b::c` or `a:b::c/n` between two places of a text, packed; undefined for anything else, which may be an IPv6 network in one of its rarer
 * forms (RFC 4291, section 2.2).
 */
export function readIpv6(text: string, start: number, end: number): string | undefined {
  let groups = 0;
  let gap = -1;
  let at = start;
  while (at < end && text.charCodeAt(at) !== SLASH) {
    if (text.charCodeAt(at) === COLON) {
      if (text.charCodeAt(at + 1) !== COLON || gap >= 0) return undefined;
      gap = groups;
      at += 2;
      continue;
    }
    let value = 0;
    const first = at;
    for (let digit = 0; at < end && (digit = hexDigit(text.charCodeAt(at))) >= 0; at++) value = value * 16 + digit;
    if (at === first || at - first > 4 || groups === 8) return undefined;
    scratch[groups * 2] = value >> 8;
    scratch[groups * 2 + 1] = value & 0xff;
    groups++;
    // A single colon stands between two groups; a double one is for the next round.
    if (at < end && text.charCodeAt(at) === COLON && text.charCodeAt(at + 1) !== COLON) {
      at++;
      if (at >= end || hexDigit(text.charCodeAt(at)) < 0) return undefined;
    }
  }
  if (gap < 0 ? groups !== 8 : groups > 7) return undefined;
  if (gap >= 0) {
    const behind = (groups - gap) * 2;
    scratch.copyWithin(BYTES - behind, gap * 2, groups * 2);
    scratch.fill(0, gap * 2, BYTES - behind);
  }
  if (at >= end) return packScratch(BYTES * 8);
  const bits = text.slice(at + 1, end);
  return /^(0|[1-9]\d{0,2})$/.test(bits) && Number(bits) <= BYTES * 8 ? packScratch(Number(bits)) : undefined;
}
