import type { Builder, Condition, Int } from '../../ebpf/language.ts';
import type { Cidr } from '../../net/address.ts';

/**
 * An IP address of a frame that is decided on. Its words are as they lie in memory: the first byte of the address is the lowest in
 * the register.
 *
 * Every method loads the words anew. A load from the frame costs one instruction; words that are held instead, across the whole
 * program, take registers or are spilled and loaded from the stack.
 */
export class Address {
  readonly family: 4 | 6;
  readonly #load: () => readonly Int<64>[];

  /** `load` gives one word of four bytes and zeros above (IPv4), or two words (IPv6). */
  constructor(family: 4 | 6, load: () => readonly Int<64>[]) {
    this.family = family;
    this.#load = load;
  }

  /** :: or 0.0.0.0. */
  static unspecified<R>($: Builder<R>, family: 4 | 6): Address {
    return new Address(family, () => (family === 4 ? [$.u64(0)] : [$.u64(0), $.u64(0)]));
  }

  /** One 64-bit word (IPv4) or two. */
  words(): readonly Int<64>[] {
    return this.#load();
  }

  /** Both words; the second one of an IPv4 address is zero. */
  pair<R>($: Builder<R>): readonly [Int<64>, Int<64>] {
    const [first, second] = this.words();
    return [first!, second ?? $.u64(0)];
  }

  /** One 32-bit word (IPv4) or four. */
  words32(): readonly Int<32>[] {
    if (this.family === 4) return [this.ipv4()];
    return this.words().flatMap((word) => [word.u32(), word.shr(32).u32()]);
  }

  /** The 32 bits of an IPv4 address. */
  ipv4(): Int<32> {
    return this.words()[0]!.u32();
  }

  firstByte(): Int<64> {
    return this.words()[0]!.and(0xff);
  }

  /** The words of the network of so many bits that it is in; words without any are left out. */
  leading(bits: number): Int<64>[] {
    return this.words().flatMap((word, index) => {
      const significant = bitsOfWord(bits, index);
      if (significant === 0) return [];
      return [significant === 64 ? word : word.and(leadingMask(significant))];
    });
  }

  eq(other: Address): Condition {
    const words = other.words();
    return this.words()
      .map((word, index) => word.eq(words[index]!))
      .reduce((all, one) => all.and(one));
  }

  /** Whether it is in one of the networks of its family; never, when there are none. */
  inAny(networks: readonly Cidr[]): Condition {
    const words = this.words();
    const bytes = this.family === 4 ? 4 : 16;
    return networks
      .filter(({ address }) => address.length === bytes)
      .map((network) => inNetwork(words, network))
      .reduce((any, one) => any.or(one), words[0]!.oneOf([]));
  }

  /** The same address in variables, for when the frame is written over. */
  kept<R>($: Builder<R>): Address {
    const words = this.words().map((word) => $.let(word));
    return new Address(this.family, () => words);
  }
}

/** How many of the leading bits of an address lie in one of its 64-bit words. */
const bitsOfWord = (bits: number, index: number): number => Math.min(64, Math.max(0, bits - index * 64));

/** The first `bits` of eight bytes in memory, as a little-endian number. */
function leadingMask(bits: number): bigint {
  const bytes = Buffer.alloc(8);
  for (let index = 0; index < 8; index++) {
    const significant = Math.min(8, Math.max(0, bits - index * 8));
    bytes[index] = (0xff00 >> significant) & 0xff;
  }
  return bytes.readBigUInt64LE();
}

function inNetwork(words: readonly Int<64>[], { address, bits }: Cidr): Condition {
  const bytes = Buffer.alloc(words.length * 8);
  bytes.set(address);
  const tests = words.flatMap((word, index) => {
    const significant = bitsOfWord(bits, index);
    if (significant === 0) return [];
    const mask = leadingMask(significant);
    return [word.and(mask).eq(bytes.readBigUInt64LE(index * 8) & mask)];
  });
  // A network of no bits is every address.
  return tests.length === 0 ? words[0]!.ge(0) : tests.reduce((all, one) => all.and(one));
}
