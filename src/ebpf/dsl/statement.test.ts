import { expect, it } from 'vitest';
import { roleOf } from './statement.ts';

/** Source with a `^` in front of what is evaluated, and its role. */
const CASES: readonly (readonly [string, ReturnType<typeof roleOf>])[] = [
  ['() => { XDP.^DROP; }', 'dropped'],
  ['() => { ^XDP.DROP; }', 'dropped'],
  ['() => { XDP.^DROP }', 'dropped'],
  ['foo();\nXDP.^DROP\nreturn 1;', 'dropped'],
  ['if (settled) XDP.^DROP;', 'dropped'],
  ['if (settled) return 1; else XDP.^DROP;', 'dropped'],
  ['foo(); // why; {\n// more\n/* and\nmore */ XDP.^DROP; // so', 'dropped'],
  ['language.XDP.^DROP;', 'dropped'],
  ['{ ^drop(); }', 'dropped'],
  ["{ exits.^drop(reason, ')', [1, { a }], () => 2);\n}", 'dropped'],
  ['return XDP.^DROP;', 'returned'],
  ['() => XDP.^DROP', 'returned'],
  ['$.if(a, () => XDP.^DROP, () => XDP.PASS)', 'returned'],
  ['$.if(a, () => XDP.^DROP);', 'returned'],
  ['() =>\n  XDP.^DROP,\n', 'returned'],
  ['() => ^drop(reason)', 'returned'],
  ['return ^drop(reason);', 'returned'],
  ['const verdict = XDP.^DROP;', 'used'],
  ['const verdict =\n  XDP.^DROP;', 'used'],
  ['const verdict = // {\n  XDP.^DROP;', 'used'],
  ['return settled\n  ? XDP.^DROP\n  : XDP.PASS;', 'used'],
  ['return settled ? XDP.PASS : XDP.^DROP;', 'used'],
  ['() => XDP.^DROP.code', 'used'],
  ['{ XDP.^DROP.code; }', 'used'],
  ['{ XDP.^DROP\n  .code; }', 'used'],
  ['{ XDP.^DROP\n  === verdict; }', 'used'],
  ['() => XDP.^DROP as never', 'used'],
  ['{ void XDP.^DROP; }', 'used'],
  ['`${XDP.^DROP}`', 'used'],
  ['case 1: XDP.^DROP;', 'used'],
  ['take(XDP.^DROP);', 'used'],
  ['const { ^DROP } = XDP;', 'used'],
  ['{ actions[^name]; }', 'used'],
  ['{ ^drop().code; }', 'used'],
  ['{ build().^drop(); }', 'used'],
  ['{ ^drop`a`; }', 'used'],
  ['{ ^drop(a / b); }', 'used'],
  ["{ ^drop('it\\'s'); }", 'used'],
  ['for (let i = 0; ^drop(); i++) {}', 'used'],
];

it.each(CASES)('%s: %s', (marked, role) => {
  const offset = marked.indexOf('^');
  expect(roleOf(marked.replace('^', ''), offset, marked.includes('DROP') ? 'DROP' : undefined)).toBe(role);
});
