import { expect, it } from 'vitest';
import {
  DslError,
  func,
  globalFunc,
  type Int,
  Program,
  struct,
  TC,
  tc,
  u32,
  u64,
  xdp,
  XDP,
  type XdpBuilder,
} from '../../src/ebpf/index.ts';
import { ethernet, frame, ipv4, tcp } from '../../src/net/build.ts';
import { Eth } from '../../src/net/headers.ts';
import { describeAsRoot } from '../support/as-root.ts';

const data = frame([ethernet(), ipv4(), tcp()]);
const Pair = struct('pair', { low: u32, high: u32, sum: u64 });

describeAsRoot('global functions', () => {
  it('take numbers, and give up to 64 bits back', () => {
    const wide = globalFunc('wide', [64, 8], 64, ($, a, b) => {
      $.if(b.eq(0), () => 7);
      return a.mul(b.u64());
    });
    using program = Program.load(
      xdp('numbers', ($) => {
        $.if($.invoke(wide, 0x1_0000_0000n, 3).ne(0x3_0000_0000n), () => XDP.ABORTED);
        return $.invoke(wide, 1, 0).u32();
      }),
    );
    expect(program.testRun({ data }).verdict).toBe(7);
  });

  it('read and write memory of their callers', () => {
    const add = globalFunc('add', [Pair], 32, ($, pair) => {
      pair.set({ sum: pair.low.u64().add(pair.high.u64()), low: 0 });
      return $.u32(1);
    });
    using program = Program.load(
      xdp('memory', ($) => {
        const pair = $.stack(Pair);
        pair.set({ low: 0xffff_ffff, high: 2 });
        $.if($.invoke(add, pair).ne(1), () => XDP.ABORTED);
        return pair.sum.shr(32).u32().add(pair.sum.u32()).add(pair.low);
      }),
    );
    expect(program.testRun({ data }).verdict).toBe(2);
  });

  it('look into the packet, in XDP and in traffic control', () => {
    const protocol = globalFunc('protocol', ['packet', 32], 32, (_$, packet, offset) => {
      packet.skip(offset.and(0xff), { max: 0xff }).orExit(0);
      const eth = packet.take(Eth).orExit(1);
      return eth.proto.host().u32();
    });
    using inXdp = Program.load(xdp('in_xdp', ($, packet) => $.invoke(protocol, packet, 0)));
    expect(inXdp.testRun({ data }).verdict).toBe(0x0800);
    using inTc = Program.load(
      tc('in_tc', ($, packet) => {
        $.if($.invoke(protocol, packet, 0).eq(0x0800), () => TC.SHOT);
        return TC.OK;
      }),
    );
    expect(inTc.testRun({ data }).verdict).toBe(TC.SHOT.code);
    using beyond = Program.load(xdp('beyond', ($, packet) => $.invoke(protocol, packet, 200)));
    expect(beyond.testRun({ data }).verdict).toBe(1);
  });

  it('are walked once, where a function is walked at every call', () => {
    const work = (_$: unknown, value: Int<32>): Int<32> => {
      let result = value;
      for (let step = 0; step < 100; step++) result = result.mul(31).xor(step);
      return result;
    };
    const once = globalFunc('once', [32], 32, work);
    const everyTime = func('every_time', [32], 32, work);
    const walked = (call: ($: XdpBuilder, value: number) => Int<32>): number => {
      using program = Program.load(
        xdp('walked', ($) => {
          let sum = $.u32(0);
          for (let value = 0; value < 5; value++) sum = sum.add(call($, value));
          return sum;
        }),
      );
      return program.info.verifiedInstructions;
    };
    expect(walked(($, value) => $.invoke(once, value)) * 4).toBeLessThan(
      walked(($, value) => $.invoke(everyTime, value)),
    );
  });

  it('are known by name', () => {
    const one = globalFunc('same', [], 32, () => 1);
    const two = globalFunc('same', [], 32, () => 2);
    expect(() => xdp('two', ($) => $.invoke(one).add($.invoke(two)))).toThrow(DslError);
  });
});
