import { expect, it } from 'vitest';
import { rotatedKeys } from './cookie-keys.ts';

const SLOT = 1n << 35n;
const keys = {
  hashStart: [1n, 2n],
  hashMultiplier: 3n,
  hashFinish: 5n,
  cookie: [10n, 11n, 20n, 21n, 30n, 31n, 40n, 41n],
};

it.each([0n, 1n, 2n, 3n, 4n, 1_000_003n])('in slot %i only the key of the slot after the next changes', (slot) => {
  const after = rotatedKeys(keys, slot * SLOT + 5n);
  const changed = after.cookie.flatMap((word, index) => (word === keys.cookie[index] ? [] : [index >> 1]));
  expect(new Set(changed)).toEqual(new Set([Number((slot + 2n) % 4n)]));
  expect({ ...after, cookie: [] }).toEqual({ ...keys, cookie: [] });
});
