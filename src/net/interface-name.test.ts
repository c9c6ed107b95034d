import { expect, it } from 'vitest';
import { interfaceNameProblem } from './interface-name.ts';

it.each(['eth0', 'eth0.100', 'veth@x', '-', 'a'.repeat(15), '...', 'ü', '%d'])('%j may be an interface', (name) => {
  expect(interfaceNameProblem(name)).toBeUndefined();
});

it.each([
  ['', /cannot be empty/],
  ['a'.repeat(16), /1 to 15 bytes/],
  ['ü'.repeat(8), /1 to 15 bytes/],
  ['.', /is not the name/],
  ['..', /is not the name/],
  ['../../etc', /no slash/],
  ['eth0:1', /no colon/],
  ['eth 0', /no white space/],
  ['eth\n0', /no white space/],
  ['à', /no white space/],
  ['eth\0', /no white space/],
  ['x'.repeat(100_000), /^.{0,120}$/],
])('%j is refused', (name, why) => {
  expect(interfaceNameProblem(name)).toMatch(why);
});
