import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { BPF_FILE_SYSTEM, Program, XDP } from '../../src/ebpf/index.ts';
import { clockFromMap, settableClock } from '../../src/dataplane/clock.ts';
import { protection } from '../../src/dataplane/program.ts';
import { type ReasonName, reasons } from '../../src/dataplane/reason.ts';
import { ethernet, frame, ipv4, tcp } from '../../src/net/build.ts';
import { checkLimits, type Limits } from '../../src/policy/limits.ts';
import { describeAsRoot } from '../support/as-root.ts';

const SECOND = 1_000_000_000n;
const DAY = 86_400n * SECOND;

/** The data plane under a clock that tests set. */
class Bench implements Disposable {
  readonly #program: Program;
  readonly #maps;

  constructor(limits: Limits = {}) {
    const { program, maps } = protection(checkLimits(limits), clockFromMap);
    this.#program = Program.load(program);
    this.#maps = maps;
  }

  at(time: bigint): this {
    this.#program.map(settableClock).update(0, time);
    return this;
  }

  send(src = '10.0.0.1', dest = 80): 'pass' | 'drop' {
    const { verdict } = this.#program.testRun({ data: frame([ethernet(), ipv4({ src }), tcp({ dest })]) });
    return verdict === XDP.DROP.code ? 'drop' : 'pass';
  }

  /** How many of `count` SYNs pass. */
  burst(count: number, src?: string): number {
    return Array.from({ length: count }, () => this.send(src)).filter((verdict) => verdict === 'pass').length;
  }

  count(name: ReasonName, dryRun = false): bigint {
    const index = reasons.findIndex((reason) => reason.name === name) + (dryRun ? reasons.length : 0);
    return this.#program
      .map(this.#maps.counters)
      .lookup(index)!
      .reduce((sum, one) => sum + one, 0n);
  }

  pin(path: string): void {
    this.#program.pin(path);
  }

  [Symbol.dispose](): void {
    this.#program[Symbol.dispose]();
  }
}

const hammer = fileURLToPath(new URL('../support/hammer.mjs', import.meta.url));

describeAsRoot('token bucket', () => {
  it('passes exactly a bucket of five, then drops', () => {
    using bench = new Bench();
    expect(bench.at(DAY).burst(20)).toBe(5);
  });

  it.each([
    ['at the start of the clock', 0n],
    ['after a second', SECOND],
    ['after 100 days', 100n * DAY],
    ['after 20 years', 7300n * DAY],
  ])('gives a token back at each full interval and not a nanosecond earlier, %s', (_when, start) => {
    using bench = new Bench();
    expect(bench.at(start).burst(6)).toBe(5);
    expect(bench.at(start + SECOND - 1n).send()).toBe('drop');
    expect(bench.at(start + SECOND).send()).toBe('pass');
    expect(bench.send()).toBe('drop');
    expect(bench.at(start + 2n * SECOND - 1n).send()).toBe('drop');
    expect(bench.at(start + 2n * SECOND).send()).toBe('pass');
    expect(bench.at(start + 7n * SECOND).burst(9)).toBe(5);
  });

  it('loses no fraction of an interval over many uneven steps', () => {
    using bench = new Bench({ rate: '3/s', burst: 1 });
    const { interval } = checkLimits({ rate: '3/s' });
    let passed = 0;
    let now = DAY;
    for (; now < DAY + 300n * interval; now += interval / 7n) if (bench.at(now).send() === 'pass') passed++;
    // A token at the start, then one at the first step at or after each full interval since the last: 7 steps fall short by 6 ns.
    expect(passed).toBe(Math.ceil(Number(300n * interval) / Number((interval / 7n) * 8n)));
  });

  it('keeps sources apart', () => {
    using bench = new Bench();
    bench.at(DAY);
    expect([bench.burst(9, '10.0.0.1'), bench.burst(9, '10.0.0.2'), bench.burst(9, '10.0.0.1')]).toEqual([5, 5, 0]);
  });

  it('protects only the ports it is given', () => {
    using bench = new Bench({ ports: [443], burst: 1 });
    bench.at(DAY);
    expect([bench.send('10.0.0.1', 80), bench.send('10.0.0.1', 80)]).toEqual(['pass', 'pass']);
    expect([bench.send('10.0.0.1', 443), bench.send('10.0.0.1', 443)]).toEqual(['pass', 'drop']);
    expect([bench.count('other-port'), bench.count('over-limit')]).toEqual([2n, 1n]);
  });

  it('drops nothing in a dry run and counts what it would have dropped', () => {
    using bench = new Bench({ dryRun: true });
    expect(bench.at(DAY).burst(8)).toBe(8);
    expect([bench.count('within-limit'), bench.count('over-limit'), bench.count('over-limit', true)]).toEqual([
      5n,
      0n,
      3n,
    ]);
  });

  it('never spends a token twice, on however many CPUs the source arrives', async () => {
    const burst = 300_000;
    using bench = new Bench({ burst });
    bench.at(DAY);
    const pin = `${BPF_FILE_SYSTEM}/seawall-test/hammered`;
    bench.pin(pin);
    try {
      const syn = frame([ethernet(), ipv4(), tcp()]).toString('hex');
      const children = cpus().map((_, cpu) =>
        execFile(process.execPath, [hammer, pin, syn, String(burst), String(cpu)]),
      );
      await Promise.all(children.map(async (child) => await once(child, 'exit')));
    } finally {
      rmSync(`${BPF_FILE_SYSTEM}/seawall-test`, { recursive: true });
    }
    const [passed, limited, contended] = [
      bench.count('within-limit'),
      bench.count('over-limit'),
      bench.count('contended'),
    ];
    expect(passed + limited + contended).toBe(BigInt(burst * cpus().length));
    // A SYN that lost every race leaves its token to the next, and there were more SYNs than tokens.
    expect(passed).toBe(BigInt(burst));
  });

  it('decides like a textbook token bucket on any sequence of arrivals', () => {
    const arrivals = fc.array(
      fc.tuple(
        fc.integer({ min: 0, max: 2 }),
        fc.oneof(fc.constantFrom(0n, 1n, SECOND, SECOND - 1n, SECOND + 1n), fc.bigInt(0n, 8n * SECOND)),
      ),
      {
        minLength: 1,
        maxLength: 40,
      },
    );
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 7 }), arrivals, (burst, sequence) => {
        using bench = new Bench({ burst });
        // Tokens in nanoseconds of refill, so that nothing is rounded.
        const buckets = new Map<number, { tokens: bigint; at: bigint }>();
        const full = BigInt(burst) * SECOND;
        let now = DAY;
        for (const [source, pause] of sequence) {
          now += pause;
          const bucket = buckets.get(source) ?? { tokens: full, at: now };
          const refilled = bucket.tokens + (now - bucket.at);
          const tokens = refilled > full ? full : refilled;
          const pass = tokens >= SECOND;
          buckets.set(source, { tokens: pass ? tokens - SECOND : tokens, at: now });
          expect(bench.at(now).send(`10.0.0.${String(source + 1)}`)).toBe(pass ? 'pass' : 'drop');
        }
      }),
      { numRuns: 200 },
    );
  });
});
