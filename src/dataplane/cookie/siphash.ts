/**
 * SipHash-c-d (Aumasson and Bernstein, 2012) as a macro over whole 64-bit words: what cookies are made with, because an attacker
 * sees them.
 */
import type { Builder, Int } from '../../ebpf/language.ts';

export interface Rounds {
  readonly compression: number;
  readonly finalization: number;
}

const rotateLeft = (value: Int<64>, bits: number): Int<64> => value.shl(bits).or(value.shr(64 - bits));

type State = [Int<64>, Int<64>, Int<64>, Int<64>];

function round([a, b, c, d]: State): State {
  let [v0, v1, v2, v3] = [a.add(b), rotateLeft(b, 13), c.add(d), rotateLeft(d, 16)];
  v1 = v1.xor(v0);
  v3 = v3.xor(v2);
  v0 = rotateLeft(v0, 32);
  v2 = v2.add(v1);
  v0 = v0.add(v3);
  v1 = rotateLeft(v1, 17).xor(v2);
  v3 = rotateLeft(v3, 21).xor(v0);
  return [v0, v1, rotateLeft(v2, 32), v3];
}

/** The hash of a message of 64-bit words (little-endian, as in the paper) under a key of two words. */
export function sipHash<R>(
  $: Builder<R>,
  [k0, k1]: readonly [Int<64>, Int<64>],
  message: readonly Int<64>[],
  { compression, finalization }: Rounds,
): Int<64> {
  let state: State = [
    k0.xor(0x736f_6d65_7073_6575n),
    k1.xor(0x646f_7261_6e64_6f6dn),
    k0.xor(0x6c79_6765_6e65_7261n),
    k1.xor(0x7465_6462_7974_6573n),
  ];
  const rounds = (count: number): void => {
    for (let index = 0; index < count; index++) state = round(state);
  };
  // The last word holds the rest of the message, here none, and its length in the highest byte.
  const length = $.u64(BigInt((message.length * 8) & 0xff) << 56n);
  for (const word of [...message, length]) {
    state = [state[0], state[1], state[2], state[3].xor(word)];
    rounds(compression);
    state = [state[0].xor(word), state[1], state[2], state[3]];
  }
  state = [state[0], state[1], state[2].xor(0xff), state[3]];
  rounds(finalization);
  return state.reduce((all, one) => all.xor(one));
}
