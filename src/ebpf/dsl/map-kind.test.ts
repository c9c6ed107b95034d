import { expect, it } from 'vitest';
import { expectRefusal } from '../../../test/support/refusal.ts';
import {
  arrayMap,
  arrayOfMaps,
  be32,
  bytes,
  deviceMap,
  hashMap,
  lpmTrie,
  perCpuArray,
  programArray,
  ringBuffer,
  struct,
  u32,
  u64,
  XDP,
  xdp,
} from '../language.ts';

const table = hashMap('table', { key: u32, value: u64, maxEntries: 1 });
const counters = perCpuArray('counters', { value: u64, maxEntries: 1 });
const pair = arrayMap('pair', { value: u64, maxEntries: 2 });
const programs = programArray('programs', { maxEntries: 1 });
const maps = arrayOfMaps('maps', { inner: table, maxEntries: 1 });
const ring = ringBuffer('ring', { size: 4096 });
const devices = deviceMap('devices', { maxEntries: 1 });
const Entry = struct('entry', { value: u64 });

/** The builder as JavaScript has it. */
type Untyped = Readonly<Record<string, (...args: unknown[]) => unknown>>;

/** The operation on the wrong kind of map, as a caller without types writes it; the words of the reason. */
const MISTAKES: readonly (readonly [string, RegExp, ($: Untyped, packet: unknown) => unknown])[] = [
  ['look-up in a ring buffer', /look up in ring: it is a ring buffer/, ($) => $['lookup']!(ring, 0)],
  ['look-up in a program array', /it is a program array; give an array/, ($) => $['lookup']!(programs, 0)],
  ['update of an array of maps', /update maps: it is an array of maps; give/, ($) => $['update']!(maps, 0, 1)],
  ['update of a program array', /update programs: it is a program array/, ($) => $['update']!(programs, 0, 1)],
  ['delete from an array', /delete from pair: it is an array; give a hash/, ($) => $['delete']!(pair, 0)],
  ['walk through a ring buffer', /walk ring: it is a ring buffer; give an array/, ($) => $['forEach']!(ring, () => {})],
  ['place of a hash', /take the place of table: it is a hash; give an array of one entry/, ($) => $['at']!(table, 0)],
  ['place of a per-CPU array', /it is a per-CPU array; give an array of one entry/, ($) => $['at']!(counters, 0)],
  ['place of one of several', /pair at 0: it has 2 entries/, ($) => $['at']!(pair, 0)],
  [
    'record in a hash',
    /record in table: it is a hash; give a ring buffer/,
    ($) => $['record']!(table, Entry, () => {}),
  ],
  ['tail call through a hash', /it is a hash; give a program array/, ($, packet) => $['tailCall']!(table, packet, 0)],
  ['look-up in a device map', /look up in devices: it is a device map/, ($) => $['lookup']!(devices, 0)],
  ['redirect into a hash', /it is a hash; give a device map/, ($) => $['redirect']!(table, 0, XDP.PASS)],
  ['redirect by its name', /it is a hash; give a device map/, ($) => $['call']!('redirect_map', table, 0, 0)],
  [
    'tail call by its name',
    /it is an array; give a program array/,
    ($, packet) => $['call']!('tail_call', packet, pair, 0),
  ],
];

it.each(MISTAKES)('refuses a %s, at the line of the author', (_what, reason, body) => {
  expectRefusal(
    () => {
      xdp('mistake', ($, packet) => {
        body($ as unknown as Untyped, packet);
        return XDP.PASS;
      });
    },
    reason,
    import.meta.filename,
  );
});

it('refuses an LPM trie whose key is no prefix', () => {
  const trie = (key: unknown): unknown => lpmTrie('trie', { key: key as typeof Entry, value: u32, maxEntries: 1 });
  expect(() => trie(u32)).toThrow(/a struct of a u32 with the number of bits/);
  expect(() => trie(struct('key', { bits: u64, address: be32, pad: be32 }))).toThrow(/a struct of a u32/);
  expect(() => trie(struct('key', { bits: u32 }))).toThrow(/a struct of a u32/);
  expect(() => trie(struct('key', { bits: u32, address: u32 }))).toThrow(/network order; use be16, be32/);
  expect(trie(struct('key', { bits: u32, address: bytes(16) }))).toMatchObject({ kind: 'LPM trie' });
});
