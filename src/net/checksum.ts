import type { Condition, Int } from '../ebpf/language.ts';

/** The sum of 16-bit words in ones' complement (RFC 1071), not yet inverted; `start` is the sum so far. */
export function sumWords(data: Uint8Array, start = 0): number {
  let sum = start;
  for (let at = 0; at < data.length; at += 2) sum += (data[at]! << 8) | (data[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

/** The Internet checksum (RFC 1071). Over data that holds a right checksum it is 0. */
export function internetChecksum(data: Uint8Array, start = 0): number {
  return ~sumWords(data, start) & 0xffff;
}

/** The sum of the pseudo header of TCP and UDP over IPv4 (RFC 9293, section 3.1) or IPv6 (RFC 8200, section 8.1). */
export function pseudoHeaderSum(source: Uint8Array, destination: Uint8Array, protocol: number, length: number): number {
  const rest = Buffer.alloc(8);
  rest.writeUInt32BE(length, 0);
  rest.writeUInt32BE(protocol, 4);
  return sumWords(Buffer.concat([source, destination, rest]));
}

/** In the kernel: folds a sum of 16-bit words into 16 bits. Right for sums of up to 2^32 - 1; byte order does not matter. */
export function foldSum(sum: Int<32>): Int<16> {
  const once = sum.and(0xffff).add(sum.shr(16));
  return once.and(0xffff).add(once.shr(16)).u16();
}

/** In the kernel: folds a sum of words of 16 or 32 bits, however many, into 16 bits. */
export function foldWideSum(sum: Int<64>): Int<16> {
  const folded = sum.and(0xffff_ffff).add(sum.shr(32));
  return foldSum(folded.and(0xffff).add(folded.shr(16)).u32());
}

/**
 * In the kernel: whether data with this sum of words holds a right checksum: the sum is then a multiple of 65,535, which a product with the
 * inverse of that number shows (Warren, Hacker's Delight, 10-17). The sum must not be zero.
 */
export function isWholeSum(sum: Int<64>): Condition {
  return sum.mul(0xfffe_fffe_fffe_ffffn).le(0x0001_0001_0001_0001n);
}

/** In the kernel: both 16-bit halves of a word, added, for summing. */
export function halves(word: Int<32>): Int<32> {
  return word.and(0xffff).add(word.shr(16));
}
