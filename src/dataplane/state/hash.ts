import { array, arrayMap, type Builder, type Int, struct, u64 } from '../../ebpf/language.ts';
import { mapGroup } from '../maps.ts';

/** Secrets: random at the first start, kept across reloads. Four of two words for cookies, in turn, so that those not in use can change. */
export const Keys = struct('keys', {
  /** Of IPv4 and of IPv6: without it, addresses of both families with the same leading bytes would share their state. */
  hashStart: array(u64, 2),
  hashMultiplier: u64,
  hashFinish: u64,
  cookie: array(u64, 8),
});

export const keyGroup = mapGroup({
  specs: () => ({ keys: arrayMap('keys', { value: Keys, maxEntries: 1 }) }),
});
export type KeyMaps = ReturnType<typeof keyGroup.specs>;

/**
 * A keyed hash of the 64-bit words of an address: multiplication by secret odd numbers, with the upper half folded into the lower in between. Its
 * results are never seen from outside, so an attacker cannot look for sources that share a cell; what can be seen from outside
 * (cookies) is made with SipHash.
 */
export function keyedHash<R>($: Builder<R>, { keys }: KeyMaps, family: 4 | 6, words: readonly Int<64>[]): Int<64> {
  const secret = $.at(keys, 0);
  const multiplier = secret.hashMultiplier;
  let hash = secret.hashStart.at(family === 4 ? 0 : 1);
  for (const word of words) {
    hash = hash.xor(word).mul(multiplier);
    hash = hash.xor(hash.shr(32));
  }
  hash = hash.mul(secret.hashFinish);
  return hash.xor(hash.shr(32));
}
