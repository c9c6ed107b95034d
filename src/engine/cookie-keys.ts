import { randomBytes } from 'node:crypto';
import type { Infer } from '../ebpf/index.ts';
import { COOKIE_KEYS, SLOT_SHIFT } from '../dataplane/cookie/cookie.ts';
import type { Keys } from '../dataplane/state/hash.ts';

/** How often a key is replaced: once in each slot, so that no key serves twice. */
export const ROTATE_EVERY_MS = Number(1n << BigInt(SLOT_SHIFT)) / 1e6;

/**
 * The same keys with a new one for the slot after the next. The keys of the current slot, of the one before, whose cookies are still
 * taken, and of the next stay, so no handshake in flight breaks. `now` is the kernel's monotonic clock in nanoseconds.
 */
export function rotatedKeys(keys: Infer<typeof Keys>, now: bigint): Infer<typeof Keys> {
  const at = Number(((now >> BigInt(SLOT_SHIFT)) + 2n) % BigInt(COOKIE_KEYS)) * 2;
  const fresh = randomBytes(16);
  return {
    ...keys,
    cookie: keys.cookie.map((word, index) =>
      index === at || index === at + 1 ? fresh.readBigUInt64LE((index - at) * 8) : word,
    ),
  };
}
