import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import {
  arrayMap,
  BPF_FILE_SYSTEM,
  type Int,
  Program,
  struct,
  u64,
  XDP,
  xdp,
  type XdpBuilder,
} from '../../src/ebpf/index.ts';
import { falseLimitProbability } from '../../src/tools/check.ts';
import { randomKeys } from '../../src/engine/kernel-maps.ts';
import { keyedHash } from '../../src/dataplane/state/hash.ts';
import { SMALL_LISTS } from '../../src/dataplane/maps.ts';
import { protectionMaps } from '../../src/dataplane/pipeline.ts';
import { Metered, meter } from '../../src/dataplane/state/meter.ts';
import { bucketTicks, tickShift } from '../../src/dataplane/state/ticks.ts';
import { resolvePolicy } from '../../src/policy/policy.ts';
import { describeAsRoot } from '../support/as-root.ts';

const BURST = 5;
const hammer = fileURLToPath(new URL('../support/hammer.mjs', import.meta.url));
const State = struct('state', { counter: u64, within: u64, over: u64, ticks: u64 });
const state = arrayMap('state', { value: State, maxEntries: 1 });
const FRAME = new Uint8Array(64);

/** A meter alone, asked for one source after another: `sourceOf` gives the number of a source from the number of the question. */
class MeterAlone implements Disposable {
  readonly program: Program;
  /** What a SYN costs, in ticks. */
  readonly price: number;

  constructor(sourceOf: ($: XdpBuilder, counter: Int<64>) => Int<64>) {
    const policy = resolvePolicy({ limits: { source: { rate: '1/s', burst: BURST } } });
    const maps = protectionMaps(policy, SMALL_LISTS);
    const bucket = policy.services[0]!.limits.source!;
    const { price, credit } = bucketTicks(bucket, tickShift([bucket]));
    this.price = price;
    this.program = Program.load(
      xdp('meter', ($) => {
        const at = $.at(state, 0);
        const counter = at.counter;
        at.set({ counter: counter.add(1) });
        const hash = keyedHash($, maps, 4, [sourceOf($, counter)]);
        const constants = { price: $.u32(price), credit: $.u32(credit) };
        const { outcome } = meter($, maps.meters.source, hash, constants, at.ticks.u32());
        $.if(
          outcome.eq(Metered.WITHIN),
          () => {
            at.ref('within').add(1);
          },
          () => {
            at.ref('over').add(1);
          },
        );
        return XDP.PASS;
      }),
    );
    this.program.map(maps.keys).update(0, randomKeys());
  }

  /** Sets the clock, which stands still. */
  at(ticks: number): this {
    const map = this.program.map(state);
    map.update(0, { ...map.lookup(0)!, ticks: BigInt(ticks >>> 0) });
    return this;
  }

  ask(times: number): { within: number; over: number } {
    const before = this.program.map(state).lookup(0)!;
    this.program.testRun({ data: FRAME, repeat: times });
    const { within, over } = this.program.map(state).lookup(0)!;
    return { within: Number(within - before.within), over: Number(over - before.over) };
  }

  [Symbol.dispose](): void {
    this.program[Symbol.dispose]();
  }
}

describeAsRoot('meter', () => {
  it.each([1000, 10_000, 100_000, 1_000_000, 10_000_000])(
    'against exact token buckets with %i sources: never more, and hardly ever less than foretold',
    (sources) => {
      // The sources in turn, so that each has spent one token before any comes again.
      using alone = new MeterAlone((_$, counter) => counter.mod(sources));
      const first = alone.ask(sources);
      // An exact bucket lets every first SYN pass. Nobody is at a limit before sources share cells again and again.
      const shortfall = first.over / sources;
      const cells = resolvePolicy().cells;
      expect(first.within + first.over).toBe(sources);
      expect(shortfall).toBeLessThanOrEqual(falseLimitProbability(cells, sources) + 0.001);
      const rest = alone.ask(sources * 7);
      // Exact buckets let BURST pass for each and not one more.
      const passed = first.within + rest.within;
      expect(passed).toBeLessThanOrEqual(sources * BURST);
      const missing = 1 - passed / (sources * BURST);
      expect(missing).toBeLessThanOrEqual(falseLimitProbability(cells, sources) + 0.001);
      if (process.env['SHOW'])
        console.log({ sources, shortfall, missing, foretold: falseLimitProbability(cells, sources) });
    },
  );

  // Cells and clock are numbers modulo 2^32: the clock begins anywhere, and wraps.
  it.each([0, 1 << 30, 0xf000_0000])('takes a cell that the clock has overtaken for empty, from %i on', (start) => {
    using alone = new MeterAlone(($) => $.u64(7));
    const { price } = alone;
    const full = BURST * price;
    let at = start;
    expect(alone.at(at).ask(BURST + 1)).toEqual({ within: BURST, over: 1 });
    at += price;
    expect(alone.at(at).ask(BURST)).toEqual({ within: 1, over: BURST - 1 });
    // Just full again, half a turn of the clock later, and nearly a turn.
    for (const pause of [full, full + 1, 2 ** 31 - 1, 2 ** 31, 2 ** 31 + full, 2 ** 32 - full, 2 ** 32 - 1]) {
      at += pause;
      expect({ pause, ...alone.at(at).ask(BURST + 1) }).toEqual({ pause, within: BURST, over: 1 });
    }
  });

  it('lets no token be spent twice by CPUs that ask at once', async () => {
    using alone = new MeterAlone(($) => $.u64(7));
    const directory = `${BPF_FILE_SYSTEM}/seawall-test-meter`;
    const pin = `${directory}/hammered`;
    alone.program.pin(pin);
    try {
      const children = cpus().map((_, cpu) =>
        execFile(process.execPath, [hammer, pin, Buffer.from(FRAME).toString('hex'), '300000', String(cpu)]),
      );
      await Promise.all(children.map(async (child) => await once(child, 'exit')));
    } finally {
      rmSync(directory, { recursive: true });
    }
    // The counters of this test are not atomic, and may miss some; the cells are.
    const { within } = alone.program.map(state).lookup(0)!;
    expect(Number(within)).toBeLessThanOrEqual(BURST);
    expect(Number(within)).toBeGreaterThan(0);
    expect(alone.ask(1000)).toEqual({ within: 0, over: 1000 });
  });
});
