import { expect, it } from 'vitest';
import { Linkage } from '../btf/btf.ts';
import { CallSite } from '../source-location.ts';
import { propagateCopies } from './copy-propagation.ts';
import type { IrFunction } from './ir.ts';
import {
  array,
  arrayMap,
  be16,
  bytes,
  compile,
  DslError,
  dump,
  type Func,
  func,
  struct,
  u32,
  u64,
  xdp,
  XDP,
} from '../language.ts';
import type { Backend } from './compile.ts';

const Eth = struct('eth', { dst: bytes(6), src: bytes(6), proto: be16 });
const cell = arrayMap('cell', { value: u64, maxEntries: 1 });

it('compares network order with literals at no cost, and shares equal ways out', () => {
  const program = xdp('proto', ($, packet) => {
    const eth = packet.take(Eth).orExit(XDP.PASS);
    $.if(eth.proto.eq(0x0800), () => XDP.DROP);
    return XDP.PASS;
  });
  expect(dump(program).bytecode).toMatchInlineSnapshot(`
    "   0: r2 = *(u32 *)(r1 +0)                       ; data
       1: r3 = *(u32 *)(r1 +4)                       ; data_end
       2: r1 = r2
       3: r1 += 14
       4: if r1 > r3 goto +4
       5: r1 = *(u16 *)(r2 +12)                      ; eth.proto
       6: if r1 != 8 goto +2
       7: r0 = 1                                     ; XDP_DROP
       8: exit                                       ; XDP_DROP
       9: r0 = 2                                     ; XDP_PASS
      10: exit                                       ; XDP_PASS"
  `);
});

it('keeps what lives across a call in the registers that a call preserves', () => {
  const program = xdp('across', ($) => {
    const a = $.randomU32();
    const b = $.randomU32();
    return a.add(b);
  });
  expect(dump(program).bytecode).toMatchInlineSnapshot(`
    "   0: call get_prandom_u32                       ; get_prandom_u32
       1: w6 = w0
       2: call get_prandom_u32                       ; get_prandom_u32
       3: w1 = w0
       4: r0 = r6
       5: w0 += w1
       6: exit"
  `);
});

it('spills what finds no register, and makes constants anew instead', () => {
  const program = xdp('spill', ($) => {
    const values = Array.from({ length: 6 }, () => $.randomU32());
    return values.reduce((sum, value) => sum.add(value));
  });
  const { bytecode } = dump(program);
  expect(bytecode).toMatch(/; spill/);
  expect(bytecode).toMatch(/; reload/);
});

it('removes what nobody reads', () => {
  const program = xdp('dead', ($) => {
    $.at(cell, 0).value.add(3);
    return XDP.PASS;
  });
  expect(compile(program).insns).toHaveLength(2);
});

it('decides while building what is known then', () => {
  const program = xdp('settled', ($, packet) => {
    const eth = packet.take(Eth).orExit(XDP.PASS);
    $.if(eth.proto.oneOf([]), () => XDP.DROP);
    $.if($.u32(3).add(4).eq(7), () => XDP.TX);
    return XDP.DROP;
  });
  expect(dump(program).optimized).not.toMatch(/exit 1/);
});

it('loops in the kernel, and unrolls a plain for', () => {
  const List = struct('list', { items: array(u32, 4) });
  const lists = arrayMap('lists', { value: List, maxEntries: 1 });
  const program = xdp('loop', ($) => {
    const { items } = $.at(lists, 0);
    const sum = $.let($.u32(0));
    $.loop(4, (index) => {
      sum.set(sum.add(items.at(index)));
    });
    return sum.add(0);
  });
  expect(dump(program).bytecode).toMatchInlineSnapshot(`
    "   0: r3 = map[lists] value +0
       2: r0 = 0
       3: r1 = 0
       4: r2 = r1
       5: r2 <<= 2
       6: r4 = r3
       7: r4 += r2
       8: r2 = *(u32 *)(r4 +0)                       ; lists.items[]
       9: w0 += w2
      10: w1 += 1
      11: if r1 < 4 goto -8
      12: exit"
  `);
});

it('shows each step', () => {
  const { ir, optimized, bytecode } = dump(xdp('steps', ($) => $.randomU32()));
  expect(ir).toContain('func steps(v0)');
  expect(ir).toContain('; get_prandom_u32');
  expect(optimized.length).toBeLessThan(ir.length);
  expect(bytecode).toContain('call get_prandom_u32');
});

it('ends on an exchange of copies inside a loop', () => {
  const program = xdp('exchange', ($) => {
    const [a, b] = [$.let($.randomU32()), $.let($.randomU32())];
    $.loop(3, () => {
      const kept = a.add(0);
      a.set(b);
      b.set(kept);
      b.set(b);
    });
    return a.add(0);
  });
  expect(compile(program).insns.length).toBeGreaterThan(0);
});

it('ends on copies that only name each other, where no path comes', () => {
  const site = new CallSite();
  const [a, b] = [17, 18];
  const fn: IrFunction = {
    name: 'circular',
    params: [16],
    signature: { parameters: ['number'], result: 8, linkage: Linkage.STATIC },
    site,
    ownStack: false,
    frame: [],
    nextVReg: 19,
    blocks: [
      { id: 0, depth: 0, ops: [], end: { op: 'exit', value: 2n } },
      { id: 1, depth: 0, ops: [{ op: 'mov', dst: a, src: b }], end: { op: 'jump', to: 2 } },
      {
        id: 2,
        depth: 0,
        ops: [{ op: 'mov', dst: b, src: a }],
        end: { op: 'branch', compare: 'eq', width: 64, a, b, then: 1, otherwise: 0 },
      },
    ],
  };
  propagateCopies(fn);
  expect(fn.blocks[2]!.end).toMatchObject({ op: 'branch' });
});

const Large = struct('large', { bytes: bytes(320) });
const Small = struct('small', { bytes: bytes(104) });

/** The message of an error, with this file's lines named by what is in them. */
function refusal(program: Parameters<typeof compile>[0], backend: Backend = 'optimizing'): string {
  try {
    compile(program, backend);
  } catch (error) {
    expect(error).toBeInstanceOf(DslError);
    return (error as DslError).message;
  }
  throw new Error('the program was not refused');
}

it('names the largest parts of a frame that is too large, and their lines', () => {
  const program = xdp('deep', ($, packet) => {
    const small = $.stack(Small); // the small one
    const large = $.stack(Large); // the large one
    const other = $.stack(Small); // the other one
    for (const memory of [small, large, other]) $.call('xdp_load_bytes', packet, 0, memory, 8);
    return XDP.PASS;
  });
  const message = refusal(program);
  expect(message).toMatch(/^compile function deep: its frame needs 528 bytes and the kernel allows 512; /);
  expect(message).toMatch(/> \d+ \| .* the large one/);
  expect(message).toMatch(/320 bytes .*compile\.test\.ts:\d+\b.*, 104 bytes .*compile\.test\.ts:\d+.*, 104 bytes /);
});

it('refuses frames that are too large together, along the calls that lead there', () => {
  const using = (name: string, type: typeof Large | typeof Small, then?: Func<[32], 32>): Func<[32], 32> =>
    func(name, [32], 32, ($, value) => {
      const memory = $.stack(type); // memory of a function
      $.call('trace_printk', memory, 8);
      return then ? $.invoke(then, value) : value;
    });
  const calling = (fn: Func<[32], 32>): ReturnType<typeof xdp> => xdp('main', ($) => $.invoke(fn, 1));
  const inner = using('inner', Small);
  const message = refusal(calling(using('outer', Large, using('middle', Small, inner))));
  expect(message).toMatch(
    /^compile program main: the frames of main \(\d+\), outer \(320\), middle \(\d+\) and inner \(\d+\), which call one another, need \d+ bytes together and the kernel allows 512; /,
  );
  expect(message).toMatch(/> \d+ \| .* memory of a function/);
  // What is called one after the other shares the room.
  compile(
    xdp('main', ($) => {
      for (const name of ['a', 'b', 'c']) $.invoke(using(name, Large), 1);
      return XDP.PASS;
    }),
  );
});
