import { expect, it } from 'vitest';
import { formatCidr, parseCidr } from './address.ts';
import { addNetwork, type NetworkList, networkCidrs, NetworkListError, readNetworks } from './network-list.ts';

function read(text: string): string[] {
  const list: NetworkList = { v4: [], v6: [] };
  readNetworks(text, list);
  return networkCidrs(list).map(formatCidr);
}

it.each([
  ['Spamhaus DROP', '; Spamhaus DROP List\n1.10.16.0/20 ; SBL256894\n1.19.0.0/16 ; SBL434604\n', 2],
  ['FireHOL', '#\n# firehol_level1\n#\n0.0.0.0/8\n1.10.16.0/20\n', 2],
  [
    'CR LF, tabs, a byte-order mark, no last LF',
    '\xef\xbb\xbf10.0.0.0/8\r\n\t10.1.0.0/16\t# text\r\n \r\n2001:db8::/32\r',
    3,
  ],
  ['comments without space', '10.0.0.0/8#a\n10.0.0.1;b\n#\n', 2],
  ['an empty file', '', 0],
])('reads a list as %s', (_what, text, count) => {
  expect(read(text)).toHaveLength(count);
});

it.each([
  ['10.9.0.0/.5', 1],
  ['10.0.0.0/+8', 1],
  ['10.0.0.0/1e1', 1],
  ['10.0.0.0/0x8', 1],
  ['10.0.0.0/08', 1],
  ['10.0.0.0/', 1],
  ['10.0.0.0/8/8', 1],
  ['10.0.0.0/33', 1],
  ['010.0.0.0/8', 1],
  ['10.0.0.00', 1],
  ['0xa.0.0.1', 1],
  ['10.1', 1],
  ['  /+8', 3],
  ['10.0.0.0/8 extra words', 12],
  ['10.0.0.0/8\0', 1],
  ['\x0010.0.0.0/8', 1],
  ['10.0.0.0/8\v', 1],
  ['10.0.0.0/8\xa0', 1],
  ['10.0.0.0/8 \r\r', 12],
  ['10.0.0.0/8, 10.1.0.0/16', 1],
  ['2001:db8::/064', 1],
  ['fe80::1%eth0', 1],
  ['2001:db8::1/129', 1],
])('refuses %j with line and column', (text, column) => {
  let error: unknown;
  try {
    read(`# first\n${text}\n`);
  } catch (caught) {
    error = caught;
  }
  expect(error).toBeInstanceOf(NetworkListError);
  expect(error).toMatchObject({ line: 2, column });
});

it.each(['10.0.0.0/8,', '10.0.0.0/8, 10.1.0.0/16', '10.0.0.0/8,10.1.0.0/16'])(
  'says what to do with commas: %j',
  (text) => {
    expect(() => read(text)).toThrow(/^"10\.0\.0\.0\/8,.*" has a comma; write one network a line$/);
  },
);

it('shows a huge or hostile line in a short message without control characters', () => {
  for (const text of ['x'.repeat(9_000_000), '10.0.0.0/8 \x1b[2Jgone', `1.2.3.4/${'1'.repeat(1e6)}`, ':'.repeat(1e6)]) {
    const message = (() => {
      try {
        return read(text).join(' ');
      } catch (error) {
        return (error as Error).message;
      }
    })();
    expect(message.length).toBeLessThan(250);
    // eslint-disable-next-line no-control-regex
    expect(message).not.toMatch(/[\0-\x1f]/);
  }
});

it.each([
  ['::ffff:10.9.1.2', '10.9.1.2'],
  ['::ffff:a09:102', '10.9.1.2'],
  ['::ffff:10.0.0.0/104', '10.0.0.0/8'],
  ['::FFFF:10.9.1.2/128', '10.9.1.2'],
  ['::ffff:0:0/96', '::ffff:0:0/96'],
  ['10.1.2.3/8', '10.0.0.0/8'],
  ['2001:db8::1/32', '2001:db8::/32'],
  ['0.0.0.0/0', '0.0.0.0/0'],
])('reads %s as %s, in a policy and in a list', (text, network) => {
  expect(formatCidr(parseCidr(text))).toBe(network);
  expect(read(text)).toEqual([network]);
  const list: NetworkList = { v4: [], v6: [] };
  addNetwork(list, text);
  expect(networkCidrs(list).map(formatCidr)).toEqual([network]);
});
