import { expect, it } from 'vitest';
import { expectRefusal } from '../../../test/support/refusal.ts';
import { Eth } from '../../net/headers.ts';
import { arrayMap, dump, LOOP, struct, u32, XDP, xdp, type XdpBuilder, type XdpPacket } from '../language.ts';

const Sum = struct('sum', { total: u32 });
const sums = arrayMap('sums', { value: Sum, maxEntries: 1 });

/** What is written wrongly, the words of the reason, the program. */
const MISTAKES: readonly (readonly [string, RegExp, ($: XdpBuilder, packet: XdpPacket) => void])[] = [
  [
    'a value from outside',
    /use value: it belongs to another program or function; .* or in the state of the callback/,
    ($) => {
      const outside = $.randomU32();
      $.repeat(3, $.stack(Sum), (_inner, round, state) => {
        state.set({ total: round.add(outside) });
      });
    },
  ],
  [
    'memory from outside',
    /belongs to another program or function/,
    ($) => {
      const outside = $.stack(Sum);
      $.repeat(3, outside, (_inner, round) => {
        outside.set({ total: round });
      });
    },
  ],
  [
    'a variable from outside',
    /belongs to another program or function/,
    ($) => {
      const outside = $.let($.u32(0));
      $.repeat(3, () => {
        outside.set(1);
      });
    },
  ],
  [
    'a map value from outside',
    /belongs to another program or function/,
    ($) => {
      const outside = $.at(sums, 0);
      $.repeat(3, () => {
        outside.ref('total').atomicAdd(1);
      });
    },
  ],
  [
    'the builder from outside',
    /belongs to another program or function/,
    ($) => {
      $.repeat(3, () => {
        $.randomU32();
      });
    },
  ],
  [
    'a header of the packet',
    /belongs to another program or function/,
    ($, packet) => {
      const eth = packet.take(Eth).orExit(XDP.PASS);
      $.repeat(3, (inner) => {
        inner.if(eth.proto.eq(1), () => LOOP.BREAK);
      });
    },
  ],
  [
    'the loop around it',
    /belongs to another program or function/,
    ($) => {
      $.loop(3, (_round, loop) => {
        $.repeat(3, () => {
          loop.break();
        });
      });
    },
  ],
  [
    'a verdict of the program',
    /a value of type object ends no round; return LOOP\.CONTINUE or LOOP\.BREAK/,
    ($) => {
      $.repeat(3, (() => XDP.DROP) as never);
    },
  ],
  [
    'a forgotten return',
    /drop LOOP\.BREAK: .* write return in front/,
    ($) => {
      $.repeat(3, (inner, round) => {
        inner.if(round.eq(1), () => {
          // oxlint-disable-next-line no-unused-expressions -- the mistake
          LOOP.BREAK;
        });
      });
    },
  ],
  [
    'state in a map',
    /share state with a callback: it has to lie in the frame; make it with \$\.stack/,
    ($) => {
      $.repeat(3, $.at(sums, 0), () => {});
    },
  ],
  [
    'more rounds than the kernel runs',
    /repeat 8388609 times: give a whole number of at most 8388608/,
    ($) => {
      $.repeat(8_388_609, () => {});
    },
  ],
];

it.each(MISTAKES)('refuses %s in a callback, at the line of the author', (_what, reason, body) => {
  expectRefusal(
    () => {
      xdp('mistake', ($, packet) => {
        body($, packet);
        return XDP.PASS;
      });
    },
    reason,
    import.meta.filename,
  );
});

it('makes a callback a function of the program, and shows its address', () => {
  const program = xdp('shown', ($) => $.repeat(3, () => LOOP.BREAK).u32());
  expect(dump(program).ir).toContain('= address of repeat_1');
  expect(dump(program).bytecode).toMatch(/r2 = function repeat_1/);
});
