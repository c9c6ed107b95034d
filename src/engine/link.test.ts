import { expect, it } from 'vitest';
import { linkKind } from './link.ts';

it.each([
  [1, undefined, 'ethernet'],
  [1, 'veth', 'ethernet'],
  [1, 'gretap', 'ethernet'],
  [0xfffe, 'tun', 'ip'],
  [0xfffe, 'wireguard', 'ip'],
  [768, 'ipip', 'ip'],
  [769, 'ip6tnl', 'ip'],
])('frames of type %i of a %s begin with %s', (type, kind, expected) => {
  expect(linkKind({ name: 'x0', type, kind })).toBe(expected);
});

it.each([
  [772, undefined, /lo0 is the loopback device/],
  [776, 'sit', /lo0 has frames of a type that Seawall does not read \(sit, ARPHRD 776\)/],
  [778, 'gre', /\(gre, ARPHRD 778\)/],
  [768, 'vti', /\(vti, ARPHRD 768\)/],
  [0xfffe, 'xfrm', /\(xfrm, ARPHRD 65534\)/],
  [32, undefined, /\(ARPHRD 32\)/],
])('an interface of type %i of a %s is refused', (type, kind, message) => {
  expect(() => linkKind({ name: 'lo0', type, kind })).toThrow(message);
});
