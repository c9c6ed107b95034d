import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import {
  arrayMap,
  arrayOfMaps,
  be32,
  BPF_FILE_SYSTEM,
  BpfMap,
  DslError,
  formatImage,
  hashMap,
  hashOfMaps,
  imageOf,
  LOOP,
  lpmTrie,
  parseImage,
  perCpuArray,
  Program,
  struct,
  u32,
  u64,
  xdp,
  XDP,
} from '../../src/ebpf/index.ts';
import { describeAsRoot } from '../support/as-root.ts';

const Words = struct('words', { table: u32, key: u32 });
const Entry = struct('entry', { count: u64, total: u64 });
const inner = hashMap('inner', { key: u32, value: Entry, maxEntries: 100 });
const hammer = fileURLToPath(new URL('../support/hammer.mjs', import.meta.url));

function words(...values: readonly number[]): Buffer {
  const data = Buffer.alloc(64);
  values.forEach((value, index) => data.writeUInt32LE(value >>> 0, 4 * index));
  return data;
}

/** Adds to an entry of the map of the number that the frame begins with, and makes it where there is none. */
const tables = arrayOfMaps('tables', { inner, maxEntries: 4 });
const counting = xdp('counting', ($, packet) => {
  const { table, key } = packet.take(Words).orExit(XDP.ABORTED).read();
  const found = $.lookup(tables, table).orExit(XDP.DROP);
  $.lookup(found, key).match({
    some: (entry) => {
      entry.ref('count').add(1);
      entry.ref('total').add(key.u64());
    },
    none: () => {
      $.update(found, key, { count: 1 });
    },
  });
  return XDP.PASS;
});

describeAsRoot('maps of maps', () => {
  it.each(['optimizing', 'naive'] as const)('give maps by number, which are read and written (%s)', (backend) => {
    using program = Program.load(counting, { backend });
    using first = BpfMap.create(inner);
    using second = BpfMap.create(inner);
    const all = program.map(tables);
    const run = (table: number, key: number): number => program.testRun({ data: words(table, key) }).verdict;
    expect(run(0, 7)).toBe(XDP.DROP.code);
    all.update(0, first);
    all.update(3, second);
    expect([run(0, 7), run(0, 7), run(3, 8), run(1, 1), run(4, 1)]).toEqual([2, 2, 2, 1, 1]);
    expect([...first.entries()]).toEqual([[7, { count: 2n, total: 7n }]]);
    expect([...second.entries()]).toEqual([[8, { count: 1n, total: 0n }]]);
    expect([...all.entries()]).toEqual([
      [0, first.info.id],
      [3, second.info.id],
    ]);
    all.update(0, second);
    expect([run(0, 8), all.delete(3), run(3, 8)]).toEqual([2, true, 1]);
    expect(second.lookup(8)).toEqual({ count: 2n, total: 8n });
    using again = BpfMap.openById(all.lookup(0)!, inner);
    expect(again.info.id).toBe(second.info.id);
  });

  it('give maps by key, whose entries are deleted and gone through, also from an image', () => {
    const Total = struct('total', { sum: u64 });
    const byKey = hashOfMaps('by_key', { key: struct('key', { a: u32, b: u32 }), inner, maxEntries: 10 });
    const spec = xdp('summing', ($, packet) => {
      const { table, key } = packet.take(Words).orExit(XDP.ABORTED).read();
      const found = $.lookup(byKey, { a: table, b: 1 }).orExit(XDP.DROP);
      $.delete(found, key);
      const total = $.stack(Total);
      $.forEach(found, total, (block, { value }, state) => {
        block.if(value.count.eq(0), () => LOOP.CONTINUE);
        state.ref('sum').add(value.count);
      });
      return total.sum.u32();
    });
    using program = Program.loadImage(parseImage(formatImage(imageOf(spec))));
    using map = BpfMap.create(hashMap('other', { key: u32, value: Entry, maxEntries: 5 }));
    map.updateMany([1, 2, 3].map((key) => [key, { count: BigInt(key), total: 0n }] as const));
    program.map(byKey).update({ a: 9, b: 1 }, map);
    expect(program.testRun({ data: words(9, 2) }).verdict).toBe(4);
    expect(new Set([...map.entries()].map(([key]) => key))).toEqual(new Set([1, 3]));
  });

  it('lose nothing when a map is replaced while programs run', async () => {
    const RUNS = 1_000_000;
    const cell = arrayMap('cell', { value: u64, maxEntries: 1 });
    const current = arrayOfMaps('current', { inner: cell, maxEntries: 1 });
    using program = Program.load(
      xdp('swapped', ($) => {
        const map = $.lookup(current, 0).orExit(XDP.DROP);
        $.lookup(map, 0).orExit(XDP.DROP).ref('value').atomicAdd(1);
        return XDP.PASS;
      }),
    );
    using one = BpfMap.create(cell);
    using two = BpfMap.create(cell);
    program.map(current).update(0, one);
    const directory = `${BPF_FILE_SYSTEM}/seawall-test-swap`;
    program.pin(`${directory}/swapped`);
    const counts = (): bigint[] => [one, two].map((map) => map.lookup(0)!);
    const frame = words().toString('hex');
    try {
      for (let [children, grew] = [1, false]; !grew; children++) {
        const before = counts();
        const child = execFile(process.execPath, [hammer, `${directory}/swapped`, frame, String(RUNS), '0']);
        let running = true;
        const ended = once(child, 'exit').finally(() => {
          running = false;
        });
        for (let swap = 0; running; swap++) {
          program.map(current).update(0, swap % 2 === 0 ? two : one);
          await setImmediate();
        }
        expect(await ended).toEqual([0, null]);
        const after = counts();
        expect(after[0]! + after[1]!).toBe(BigInt(RUNS * children));
        grew = after.every((count, index) => count > before[index]!);
      }
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('take maps of their shape alone', () => {
    using all = BpfMap.create(tables);
    const Untyped = all as unknown as { update: (key: number, value: unknown) => void };
    using wide = BpfMap.create(hashMap('wide', { key: u64, value: Entry, maxEntries: 1 }));
    const refused = [
      [
        wide,
        /update tables: an array of maps takes a BpfMap of the shape of inner; wide is a hash with keys of 8 bytes/,
      ],
      [7, /this is none/],
    ] as const;
    for (const [value, reason] of refused) {
      expect(() => {
        Untyped.update(0, value);
      }).toThrow(reason);
    }
    expect(() => arrayOfMaps('nested', { inner: tables as never, maxEntries: 1 })).toThrow(
      /put into a map tables: it is an array of maps; give an array, a hash or an LPM trie/,
    );
    expect(() =>
      xdp('fixed', ($) => {
        const cell = arrayMap('cell', { value: u64, maxEntries: 1 });
        const map = $.lookup(arrayOfMaps('cells', { inner: cell, maxEntries: 1 }), 0).orExit(XDP.DROP);
        $.at(map as never, 0);
        return XDP.PASS;
      }),
    ).toThrow(DslError);
  });

  it('hold per-CPU arrays and LPM tries', () => {
    const Prefix = struct('prefix', { bits: u32, address: be32 });
    const each = perCpuArray('each', { value: u64, maxEntries: 2 });
    const trie = lpmTrie('trie', { key: Prefix, value: u64, maxEntries: 2 });
    using arrays = BpfMap.create(arrayOfMaps('arrays', { inner: each, maxEntries: 1 }));
    using tries = BpfMap.create(arrayOfMaps('tries', { inner: trie, maxEntries: 1 }));
    using array = BpfMap.create(each);
    using prefixes = BpfMap.create(trie);
    arrays.update(0, array);
    tries.update(0, prefixes);
    expect([arrays.lookup(0), tries.lookup(0)]).toEqual([array.info.id, prefixes.info.id]);
  });
});
