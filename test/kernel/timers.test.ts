import { expect, it, vi } from 'vitest';
import {
  array,
  arrayMap,
  compile,
  func,
  type Func,
  hashMap,
  Program,
  type ProgramSpec,
  struct,
  timer,
  u32,
  u64,
  u8,
  UpdateFlag,
  XDP,
  xdp,
} from '../../src/ebpf/index.ts';
import { describeAsRoot } from '../support/as-root.ts';

const Session = struct('session', { timer, fired: u64, limit: u64 });
const sessions = hashMap('sessions', { key: u32, value: Session, maxEntries: 10 });
const data = Buffer.alloc(64);
const HOUR = 3_600_000_000_000n;

describeAsRoot('timers', () => {
  it.each(['optimizing', 'naive'] as const)('fire, begin again, and delete what they lie in (%s)', async (backend) => {
    const ended = arrayMap('ended', { value: u64, maxEntries: 1 });
    const spec = xdp('ticking', ($) => {
      $.update(sessions, 7, { limit: 3 }, UpdateFlag.NOEXIST);
      const session = $.lookup(sessions, 7).orExit(XDP.ABORTED);
      const started = $.startTimer(sessions, session, 100_000, (inner, { key, value }) => {
        value.ref('fired').add(1);
        inner.if(value.fired.lt(value.limit), () => {
          inner.restartTimer(value, 100_000);
          return 0;
        });
        inner.at(ended, 0).set({ value: value.fired });
        inner.delete(sessions, key);
      });
      $.if(started.ne(0), () => XDP.ABORTED);
      return XDP.PASS;
    });
    using program = Program.load(spec, { backend });
    expect(program.testRun({ data }).verdict).toBe(XDP.PASS.code);
    await vi.waitFor(() => {
      expect(program.map(sessions).lookup(7)).toBeUndefined();
    }, 30_000);
    expect(program.map(ended).lookup(0)).toBe(3n);
  });

  it('are cancelled', () => {
    const one = arrayMap('one', { value: Session, maxEntries: 1 });
    using program = Program.load(
      xdp('cancelled', ($) => {
        const session = $.at(one, 0);
        $.startTimer(one, session, HOUR, () => {});
        return $.cancelTimer(session).u32().mul(10).add($.cancelTimer(session).u32());
      }),
    );
    expect(program.testRun({ data }).verdict).toBe(10);
    expect(program.map(one).lookup(0)).toEqual({ fired: 0n, limit: 0n });
  });

  it('have a stack of their own for what they run', () => {
    const one = arrayMap('one', { value: Session, maxEntries: 1 });
    const Large = struct('large', { bytes: array(u8, 320) });
    /** A function that needs 320 bytes, and what it calls. */
    const needing = (name: string, then?: Func<readonly [32], 32>): Func<readonly [32], 32> =>
      func(name, [32], 32, (inner, value) => {
        inner.call('trace_printk', inner.stack(Large), 8);
        return then ? inner.invoke(then, value) : value;
      });
    const starting = (fired: Func<readonly [32], 32>): ProgramSpec =>
      xdp('stacks', ($) => {
        $.call('trace_printk', $.stack(Large), 8);
        $.startTimer(one, $.at(one, 0), HOUR, (inner) => {
          inner.invoke(fired, 1);
        });
        return XDP.PASS;
      });
    for (const backend of ['optimizing', 'naive'] as const) {
      using program = Program.load(starting(needing('a')), { backend });
      expect(program.testRun({ data }).verdict).toBe(XDP.PASS.code);
    }
    expect(() => compile(starting(needing('a', needing('b'))))).toThrow(
      /the frames of timer_1 \(32\), a \(320\) and b \(320\), which call one another, need 672 bytes together/,
    );
  });
});
