import { expect, it } from 'vitest';
import { countCpus } from './pin.ts';

it.each([
  ['0\n', 1],
  ['0-127\n', 128],
  ['0-3,8-11\n', 8],
  ['0,2,4-5\n', 4],
])('counts the CPUs of %j', (list, count) => {
  expect(countCpus(list)).toBe(count);
});
