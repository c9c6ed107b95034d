import { expect, it } from 'vitest';
import { PolicyError } from '../policy/policy-error.ts';
import { protect } from './protect.ts';

it.each<[unknown[], RegExp]>([
  [[5], /^interface: the name of an interface is a text, not of type number$/],
  [[undefined], /^interface: the name of an interface is a text, not of type undefined$/],
  [['eth0', new Map()], /a policy is an object with its keys, not a Map$/],
  [['eth0', {}, { mode: 'fast' }], /^mode: "fast" is no mode; use auto, native, generic$/],
])('refuses %j from plain JavaScript before it touches anything', (args, message) => {
  let found: unknown;
  try {
    protect(...(args as Parameters<typeof protect>))[Symbol.dispose]();
  } catch (error) {
    found = error;
  }
  expect(found).toBeInstanceOf(PolicyError);
  expect((found as Error).message).toMatch(message);
});
