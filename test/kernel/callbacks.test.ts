import { expect, it } from 'vitest';
import {
  arrayMap,
  func,
  hashMap,
  LOOP,
  perCpuArray,
  Program,
  type ProgramSpec,
  struct,
  u32,
  u64,
  xdp,
  XDP,
  type XdpBuilder,
  type XdpPacket,
} from '../../src/ebpf/index.ts';
import { describeAsRoot } from '../support/as-root.ts';

const Words = struct('words', { count: u32, start: u32, factor: u32, limit: u32 });
const Sum = struct('sum', { total: u64, last: u32, rounds: u32 });
const results = arrayMap('results', { value: Sum, maxEntries: 1 });

/** A frame that begins with these words, in the host's order. */
function words(...values: readonly number[]): Buffer {
  const data = Buffer.alloc(64);
  values.forEach((value, index) => data.writeUInt32LE(value >>> 0, 4 * index));
  return data;
}

/** Verdict and stored result for each frame, through both back ends. */
function outcomes(spec: ProgramSpec, frames: readonly Uint8Array[]): unknown[] {
  const [optimized, naive] = (['optimizing', 'naive'] as const).map((backend) => {
    using program = Program.load(spec, { backend });
    return frames.map((data) => {
      const { verdict } = program.testRun({ data });
      return { verdict, ...program.map(results).lookup(0)! };
    });
  });
  expect(naive).toEqual(optimized);
  return optimized!;
}

const random = (below: number): number => Math.floor(Math.random() * below);

/** A sum over rounds that ends at a limit. */
const summing = xdp('summing', ($: XdpBuilder, packet: XdpPacket) => {
  const { count, start, factor, limit } = packet.take(Words).orExit(XDP.ABORTED).read();
  const State = struct('state', { sum: Sum, factor: u32, limit: u32 });
  const state = $.stack(State);
  state.set({ sum: { last: start }, factor, limit });
  const rounds = $.repeat(count, state, (inner, round, { sum, factor, limit }) => {
    inner.if(round.and(3).eq(2), () => LOOP.CONTINUE);
    sum.set({ last: sum.last.mul(factor).add(round) });
    sum.ref('total').add(sum.last.u64());
    sum.ref('rounds').add(1);
    inner.if(sum.last.and(0xffff).lt(limit), () => LOOP.BREAK);
  });
  $.update(results, 0, state.sum);
  return rounds.u32();
});

function plainSum(count: number, start: number, factor: number, limit: number): unknown {
  let [total, last, rounds] = [0n, start, 0];
  for (let round = 0; ; round++) {
    if (round === count) return { verdict: count, total, last, rounds };
    if ((round & 3) === 2) continue;
    last = (Math.imul(last, factor) + round) >>> 0;
    total += BigInt(last);
    rounds++;
    if ((last & 0xffff) < limit) return { verdict: round + 1, total, last, rounds };
  }
}

describeAsRoot('repeat', () => {
  it('runs a block as often as a value of the kernel says, like a plain evaluation', () => {
    const inputs = Array.from({ length: 100 }, () => [
      random(500),
      random(2 ** 32),
      random(2 ** 32) | 1,
      random(2 ** random(12)),
    ]) as [number, number, number, number][];
    expect(
      outcomes(
        summing,
        inputs.map((input) => words(...input)),
      ),
    ).toEqual(inputs.map((input) => plainSum(...input)));
  });

  it('needs no state, and nests', () => {
    const counter = arrayMap('counter', { value: u64, maxEntries: 1 });
    const spec = xdp('nested', ($) => {
      $.repeat(1000, (outer, round) => {
        outer.repeat(round.and(1), (inner) => {
          inner.at(counter, 0).ref('value').add(1);
        });
      });
      return $.at(counter, 0).value.u32();
    });
    using program = Program.load(spec);
    expect(program.testRun({ data: words() }).verdict).toBe(500);
  });

  it('runs inside functions, calls functions, and hands its state on', () => {
    const State = struct('inner_state', { total: u32, by: u32 });
    const twice = func('twice', [32], 32, (_$, value) => value.mul(2));
    const sum = func('sum', [32, 32], 32, ($, count, by) => {
      const state = $.stack(State);
      state.set({ by });
      $.repeat(count, state, (inner, _round, outer) => {
        inner.repeat(outer.by, outer, (innermost, round, same) => {
          innermost.if(round.eq(3), () => LOOP.BREAK);
          same.ref('total').add(1);
        });
        outer.ref('total').add(inner.invoke(twice, outer.by));
      });
      return state.total;
    });
    using program = Program.load(xdp('called', ($) => $.invoke(sum, 4, 5)));
    expect(program.testRun({ data: words() }).verdict).toBe(4 * (3 + 10));
  });
});

describeAsRoot('for each', () => {
  const Total = struct('total', { keys: u64, values: u64, kept: u32, pad: u32 });
  const Key = struct('key', { low: u32, high: u32 });
  const Value = struct('value', { count: u64 });
  const total = arrayMap('total', { value: Total, maxEntries: 1 });

  it('adds up all entries of a hash, and deletes some', () => {
    const table = hashMap('table', { key: Key, value: Value, maxEntries: 1000 });
    const spec = xdp('walking', ($) => {
      const state = $.stack(Total);
      const visited = $.forEach(table, state, (inner, { key, value }, sum) => {
        sum.ref('keys').add(key.low.u64().add(key.high.u64().shl(32)));
        sum.ref('values').add(value.count);
        inner.if(key.low.and(1).eq(1), () => {
          inner.delete(table, key);
          return LOOP.CONTINUE;
        });
        value.ref('count').add(1);
        sum.ref('kept').add(1);
      });
      $.update(total, 0, state);
      return visited.u32();
    });
    for (const backend of ['optimizing', 'naive'] as const) {
      using program = Program.load(spec, { backend });
      const map = program.map(table);
      const entries = Array.from({ length: 1 + random(900) }, (_, low) => {
        return [{ low, high: random(2 ** 32) }, { count: BigInt(random(2 ** 32)) }] as const;
      });
      map.updateMany(entries);
      expect(program.testRun({ data: words() }).verdict).toBe(entries.length);
      const kept = entries.filter(([{ low }]) => low % 2 === 0);
      expect(program.map(total).lookup(0)).toEqual({
        keys: BigInt.asUintN(
          64,
          entries.reduce((sum, [{ low, high }]) => sum + BigInt(low) + (BigInt(high) << 32n), 0n),
        ),
        values: entries.reduce((sum, [, { count }]) => sum + count, 0n),
        kept: kept.length,
        pad: 0,
      });
      expect([...map.entries()].toSorted(([a], [b]) => a.low - b.low)).toEqual(
        kept.map(([key, { count }]) => [key, { count: count + 1n }]),
      );
    }
  });

  it('goes through arrays, and per-CPU ones, until it is ended', () => {
    const table = arrayMap('table', { value: u32, maxEntries: 10 });
    const perCpu = perCpuArray('per_cpu', { value: u32, maxEntries: 10 });
    const spec = xdp('ended', ($) => {
      const all = $.forEach(perCpu, (_inner, { key, value }) => {
        value.set({ value: key.add(7) });
      });
      return $.forEach(table, (inner, { key, value }) => {
        value.set({ value: key.add(1) });
        inner.if(key.eq(4), () => LOOP.BREAK);
      })
        .u32()
        .add(all.u32().mul(100));
    });
    using program = Program.load(spec);
    expect(program.testRun({ data: words() }).verdict).toBe(1005);
    expect([...program.map(table).entries()].map(([, value]) => value)).toEqual([1, 2, 3, 4, 5, 0, 0, 0, 0, 0]);
    expect(
      program
        .map(perCpu)
        .lookup(9)!
        .filter((value) => value === 16),
    ).toHaveLength(1);
  });
});
