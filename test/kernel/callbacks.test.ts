import { expect, it } from 'vitest';
import {
  arrayMap,
  func,
  LOOP,
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
