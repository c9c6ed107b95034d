import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import {
  arrayMap,
  BPF_FILE_SYSTEM,
  BpfMap,
  hashMap,
  Program,
  spinLock,
  struct,
  u32,
  u64,
  UpdateFlag,
  XDP,
  xdp,
} from '../../src/ebpf/index.ts';
import { describeAsRoot } from '../support/as-root.ts';

const Account = struct('account', { runs: u64, lock: spinLock, odd: u32, first: u64, second: u64 });
const hammer = fileURLToPath(new URL('../support/hammer.mjs', import.meta.url));
const data = Buffer.alloc(64);

describeAsRoot('spin locks', () => {
  it('let one CPU at a time change what belongs together', async () => {
    const RUNS = 100_000;
    const accounts = arrayMap('accounts', { value: Account, maxEntries: 2 });
    using program = Program.load(
      xdp('locked', ($) => {
        const account = $.lookup(accounts, 1).orExit(XDP.ABORTED);
        const equal = $.let($.u32(1));
        $.lock(account, () => {
          $.if(account.first.ne(account.second), () => {
            equal.set(0);
          });
          account.ref('runs').add(1);
          account.ref('first').add(account.runs);
          $.if(account.runs.and(1).eq(1), () => {
            account.ref('odd').add(1);
          });
          account.ref('second').set(account.first);
        });
        return equal;
      }),
    );
    const directory = `${BPF_FILE_SYSTEM}/seawall-test-locks`;
    const pin = `${directory}/locked`;
    program.pin(pin);
    const map = program.map(accounts);
    try {
      const children = cpus().map((_, cpu) =>
        execFile(process.execPath, [hammer, pin, data.toString('hex'), String(RUNS), String(cpu)]),
      );
      let running = children.length;
      const ended = children.map(async (child) => {
        const [status] = (await once(child, 'exit')) as [number];
        running--;
        return status;
      });
      // User space reads under the lock too, so it sees no half of a change.
      while (running > 0) {
        const { first, second } = map.lookup(1)!;
        expect(second).toBe(first);
        await new Promise(setImmediate);
      }
      expect(await Promise.all(ended)).toEqual(children.map(() => 0));
      const runs = BigInt(RUNS * children.length);
      const sum = (runs * (runs + 1n)) / 2n;
      expect(map.lookup(1)).toEqual({ runs, odd: Number(runs / 2n), first: sum, second: sum });
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it.each(['optimizing', 'naive'] as const)('are taken in loops, callbacks and fixed places (%s)', (backend) => {
    const one = arrayMap('one', { value: Account, maxEntries: 1 });
    const table = hashMap('table', { key: u32, value: Account, maxEntries: 10 });
    const spec = xdp('places', ($) => {
      const only = $.at(one, 0);
      $.lock(only, () => {
        only.ref('runs').add(1);
      });
      $.repeat(3, (inner) => {
        const value = inner.at(one, 0);
        inner.lock(value, () => {
          value.ref('runs').add(10);
        });
      });
      $.forEach(table, (inner, { value }) => {
        inner.lock(value, () => {
          value.ref('first').add(value.second);
        });
      });
      $.loop(2, () => {
        const value = $.lookup(table, 7).orExit(XDP.ABORTED);
        $.lock(value, () => {
          value.set({ second: value.first, odd: 1 });
        });
      });
      $.update(table, 8, { runs: only.runs }, UpdateFlag.LOCK);
      return XDP.PASS;
    });
    using program = Program.load(spec, { backend });
    const map = program.map(table);
    map.updateMany([
      [7, { runs: 1n, odd: 0, first: 2n, second: 3n }],
      [8, { runs: 1n, odd: 9, first: 0n, second: 0n }],
    ]);
    expect(program.testRun({ data }).verdict).toBe(XDP.PASS.code);
    expect([...map.entries()].toSorted(([a], [b]) => a - b)).toEqual([
      [7, { runs: 1n, odd: 1, first: 5n, second: 5n }],
      [8, { runs: 31n, odd: 0, first: 0n, second: 0n }],
    ]);
    expect(program.map(one).lookup(0)).toEqual({ runs: 31n, odd: 0, first: 0n, second: 0n });
  });

  it('are kept by what user space writes', () => {
    using map = BpfMap.create(hashMap('table', { key: u32, value: Account, maxEntries: 10 }));
    const value = { runs: 1n, odd: 2, first: 3n, second: 4n };
    map.update(1, value, UpdateFlag.NOEXIST);
    expect(() => {
      map.update(1, value, UpdateFlag.NOEXIST);
    }).toThrow(/EEXIST/);
    map.update(1, { ...value, odd: 7 });
    expect([...map.entries()]).toEqual([[1, { ...value, odd: 7 }]]);
  });
});
