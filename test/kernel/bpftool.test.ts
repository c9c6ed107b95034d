/** What another tool makes of our BTF: names, types and source lines. */
import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { array, be32, bytes, func, hashMap, Program, struct, u16, u64, u8, xdp, XDP } from '../../src/ebpf/index.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { hasTool } from '../support/tools.ts';

const bpftool = (...args: string[]): string => execFileSync('bpftool', args, { encoding: 'utf8' });

const Inner = struct('inner', { list: array(u16, 2), tail: bytes(4) });
const Value = struct('value', { total: u64, address: be32, flag: u8, pad: bytes(3), inner: Inner });
const things = hashMap('things', { key: be32, value: Value, maxEntries: 4 });

describeAsRoot('bpftool', () => {
  describe.skipIf(!hasTool('bpftool', 'version'))('(skipped where it is not installed)', () => {
    it('shows the TypeScript lines and the functions of a program', () => {
      const double = func('double', [32], 32, (_$, value) => value.add(value));
      using program = Program.load(
        xdp('shown', ($) => {
          const first = $.randomU32(); // the line that bpftool shows
          return $.invoke(double, first);
        }),
      );
      const dump = bpftool('prog', 'dump', 'xlated', 'id', String(program.info.id), 'linum');
      expect(dump).toMatch(/unsigned int shown\(void \* ctx\)/);
      expect(dump).toMatch(
        /; const first = \$\.randomU32\(\); \/\/ the line that bpftool shows \[file:.*bpftool\.test\.ts line_num:\d+ line_col:\d+\]/,
      );
      expect(dump).toMatch(/unsigned int double\(unsigned long long p0\)/);
    });

    it('shows the fields of a map by their names and types', () => {
      using program = Program.load(
        xdp('uses', ($) => {
          $.delete(things, 1);
          return XDP.PASS;
        }),
      );
      const map = program.map(things);
      const value = {
        total: 7n,
        address: 0x0a000001,
        flag: 1,
        pad: new Uint8Array(3),
        inner: { list: [1, 2], tail: new Uint8Array(4) },
      };
      map.update(5, value);
      const { id } = map.info;
      const [entry] = JSON.parse(bpftool('-j', 'map', 'dump', 'id', String(id))) as { formatted: { value: unknown } }[];
      expect(entry?.formatted.value).toMatchObject({ total: 7, flag: 1, inner: { list: [1, 2] } });
      expect(bpftool('btf', 'dump', 'map', 'id', String(id), 'kv')).toMatch(/STRUCT 'value' size=24 vlen=5/);
    });
  });
});
