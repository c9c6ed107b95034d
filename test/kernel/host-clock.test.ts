import { expect, it } from 'vitest';
import { arrayMap, Program, struct, tickNanoseconds, u64, XDP, xdp } from '../../src/ebpf/index.ts';
import { hostClock } from '../../src/engine/host-clock.ts';
import { describeAsRoot } from '../support/as-root.ts';

const Times = struct('times', { coarse: u64, exact: u64 });
const times = arrayMap('times', { value: Times, maxEntries: 1 });

describeAsRoot('the clock of the host', () => {
  it('is never ahead of the monotonic clock, and seldom more than two ticks behind, however often it is measured', async () => {
    const tick = tickNanoseconds()!;
    const behind: bigint[] = [];
    for (let clock = 0; clock < 5; clock++) {
      const { coarse, exact } = hostClock();
      using program = Program.load(
        xdp('clocks', ($) => {
          const now = $.let(coarse($));
          $.at(times, 0).set({ coarse: now, exact: exact($) });
          return XDP.PASS;
        }),
      );
      for (let reading = 0; reading < 20; reading++) {
        program.testRun({ data: new Uint8Array(64) });
        const read = program.map(times).lookup(0)!;
        behind.push(read.exact - read.coarse);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    }
    behind.sort((a, b) => Number(a - b));
    expect(behind[0]).toBeGreaterThan(0n);
    expect(behind[behind.length >> 1]).toBeLessThanOrEqual(2n * tick);
  });
});
