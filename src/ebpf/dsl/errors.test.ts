import { expect, it } from 'vitest';
import { expectRefusal } from '../../../test/support/refusal.ts';
import { Eth } from '../../net/headers.ts';
import {
  array,
  arrayMap,
  be32,
  deviceMap,
  enumOf,
  func,
  globalFunc,
  hashMap,
  type Int,
  programArray,
  type Ref,
  ringBuffer,
  struct,
  TC,
  tc,
  type TcBuilder,
  type TcPacket,
  u32,
  u64,
  u8,
  XDP,
  xdp,
  type XdpBuilder,
  type XdpPacket,
} from '../language.ts';

const table = hashMap('table', { key: u32, value: u64, maxEntries: 1 });
const Listed = enumOf('listed', { NO: 0 });
const List = struct('list', { items: array(u32, 5) });
const devices = deviceMap('devices', { maxEntries: 1 });
const lists = arrayMap('lists', { value: List, maxEntries: 1 });

const Wire = struct('wire', { number: u32, address: be32 });
const Pair = struct('pair', { first: u32, second: u32 });
const pairs = hashMap('pairs', { key: Pair, value: u32, maxEntries: 1 });
const Other = struct('other', { first: u32, third: u32 });

const takesList = globalFunc('takes_list', [List], 32, (_$, list) => list.items.at(0));

type Body = ($: XdpBuilder, packet: XdpPacket) => unknown;

/** What is written wrongly, the words of the reason, the program. */
const MISTAKES: readonly (readonly [string, RegExp, Body])[] = [
  [
    'a helper that the kernel does not have',
    /call nope: no helper has this name; /,
    ($) => Reflect.apply($.call, $, ['nope']),
  ],
  [
    'a helper by its whole name',
    /call bpf_ktime_get_ns: no helper has this name; write ktime_get_ns, without bpf_/,
    ($) => Reflect.apply($.call, $, ['bpf_ktime_get_ns']),
  ],
  [
    'an operator of JavaScript',
    /calculate with a value of the kernel by an operator of JavaScript: write value.add\(1\)/,
    ($) => ($.randomU32() as never) > 0,
  ],
  [
    'a negative number where nothing is below zero',
    /compare with -1, unsigned: no value is below zero; sge and its like compare signed numbers/,
    ($) => $.if($.randomU32().ge(-1), () => XDP.DROP),
  ],
  ['no number', /use a value of type undefined: a number is needed/, ($) => $.u32(1).add(undefined as never)],
  [
    'no value for a map',
    /set pairs key: give an object of its fields, or a view/,
    ($) => $.update(pairs, undefined as never, 1),
  ],
  [
    'an element before the first of an array',
    /use lists\.items: the index -1 is not a whole number from 0 on/,
    ($) => $.at(lists, 0).items.at(-1),
  ],
  ['half an element', /the index 0\.5 is not a whole number/, ($) => $.at(lists, 0).items.at(0.5)],
  [
    'an addition to a number in network order',
    /add to wire\.address: it is be32, and network order has no arithmetic/,
    ($) => {
      ($.stack(Wire).ref('address') as unknown as Ref<'u32'>).atomicAdd(1);
      return XDP.PASS;
    },
  ],
  [
    'a number of another order in a field',
    /write be32: the value is in host order; convert it with toNetwork\(\)/,
    ($) => {
      ($.stack(Wire).ref('address') as Ref).set($.randomU32());
      return XDP.PASS;
    },
  ],
  [
    'a number of another width in a field',
    /use u64 for u32: widths do not mix/,
    ($) => {
      ($.stack(Wire).ref('number') as Ref).set($.ktimeGetNs());
      return XDP.PASS;
    },
  ],
  [
    'a choice between two widths',
    /use u64 for u32: widths do not mix/,
    ($) => {
      $.select($.randomU32().eq(0), $.ktimeGetNs(), $.randomU32() as never);
      return XDP.PASS;
    },
  ],
  [
    'a view of another struct as a key',
    /write pair: a view of other has no field second; name the fields one by one/,
    ($) => {
      $.lookup(pairs, $.stack(Other)).match({ some: () => {} });
      return XDP.PASS;
    },
  ],
  [
    'a view of another struct for a global function',
    /call takes_list: it takes a view of struct list, and of no other/,
    ($) => $.invoke(takesList, $.stack(struct('other', { first: u32, items: array(u32, 5) }))),
  ],
  [
    'a header that was looked for before a resize',
    /use eth: the packet was resized since/,
    (_$, packet) => {
      const eth = packet.take(Eth);
      packet.adjustHead(-4).orExit(XDP.DROP);
      eth.orExit(XDP.PASS);
      return XDP.PASS;
    },
  ],
  [
    'a loop left after its end',
    /leave loop: it has ended/,
    ($) => {
      let leave = (): unknown => undefined;
      $.loop(2, (_round, loop) => {
        leave = () => loop.break();
      });
      leave();
      return XDP.PASS;
    },
  ],
  [
    'a value that a function gave away, once it is whole',
    /use value: it belongs to another program or function/,
    ($) => {
      let inner: Int<32> | undefined;
      $.invoke(
        func('leaks', [32], 32, (_$, value) => {
          inner = value.add(1);
          return inner;
        }),
        $.randomU32(),
      );
      $.stack(Wire).ref('number').setRaw(inner!);
      return XDP.PASS;
    },
  ],
  [
    'a verdict while a socket is held',
    /leave with a socket: .* before its socket is released/,
    ($, packet) => {
      packet.tcpSocket($.stack(struct('tuple', { words: array(u32, 3) })), 12, (socket) => {
        $.if(socket.state.eq(10), () => XDP.PASS);
      });
      return XDP.PASS;
    },
  ],
  [
    'an inline that ends without a value',
    /build inline: the body returned no value/,
    ($) => {
      $.inline(32, (() => undefined) as never);
      return XDP.PASS;
    },
  ],
  [
    'a value of another width than the inline has',
    /leave inline: u64 given, u32 wanted/,
    ($) => $.inline(32, () => $.ktimeGetNs() as never),
  ],
  [
    'two kinds of value that meet in one',
    /one path brings a value of enum listed and another a value of enum other/,
    ($) =>
      $.when(
        $.randomU32().eq(0),
        () => Listed.NO,
        () => enumOf('other', { NO: 0 }).NO as never,
      ),
  ],
  ['an enum that gives a number twice', /declare enum twice: B is 1, as A is/, () => enumOf('twice', { A: 1, B: 1 })],
  ['an enum with a number that is none', /declare enum wide: A is -1, which/, () => enumOf('wide', { A: -1 })],
  ['a member that hides a method', /declare enum own: of is a name/, () => enumOf('own', { of: 1 })],
  [
    'an inline left after its end',
    /the inline that it belongs to has ended/,
    ($) => {
      let leave = (): unknown => undefined;
      $.inline(32, (out) => {
        leave = () => out.leave(1);
        return 0;
      });
      leave();
      return XDP.PASS;
    },
  ],
  [
    'a value of a branch of an inline that ended',
    /inside a branch or loop that has ended/,
    ($) => {
      let inner = $.u32(0);
      $.inline(32, () => {
        inner = $.randomU32();
        return inner;
      });
      return inner;
    },
  ],
  [
    'a view from before a resize on one of the ways through an inline',
    /eth: the packet was resized since/,
    ($, packet) => {
      const eth = packet.take(Eth).orExit(XDP.PASS);
      $.inline(32, (out) => {
        out.if(eth.proto.eq(1), () => {
          packet.adjustTail(-1).orExit(XDP.DROP);
          return 1;
        });
        return 0;
      });
      $.if(eth.proto.eq(2), () => XDP.DROP);
      return XDP.PASS;
    },
  ],
  [
    'an inline left while a socket is held',
    /leave with a socket/,
    ($, packet) => {
      $.inline(32, (out) => {
        packet.tcpSocket($.stack(struct('tuple', { words: array(u32, 3) })), 12, (socket) => {
          out.if(socket.state.eq(10), () => 1);
        });
        return 0;
      });
      return XDP.PASS;
    },
  ],
  [
    'a loop left while a socket is held',
    /leave with a socket/,
    ($, packet) => {
      $.loop(2, (_round, loop) => {
        packet.tcpSocket($.stack(struct('tuple', { words: array(u32, 3) })), 12, (socket) => {
          loop.breakIf(socket.state.eq(10));
        });
      });
      return XDP.PASS;
    },
  ],
  [
    'a verdict while a record is being filled',
    /leave with a record: .* before the record of events is submitted/,
    ($) => {
      $.record(ringBuffer('events', { size: 4096 }), List, () => {
        $.if($.randomU32().eq(1), () => XDP.PASS);
      });
      return XDP.PASS;
    },
  ],
  [
    'two ways that bring different numbers',
    /join values: one path brings u32 and another be32/,
    ($) => $.when($.randomU32().eq(1), () => $.u32(1), (() => $.randomU32().toNetwork()) as never),
  ],
  [
    'two ways that bring different records',
    /join values: one path brings { a } and another { b }/,
    ($) => $.when($.randomU32().eq(1), () => ({ a: $.u32(1) }), (() => ({ b: $.u32(1) })) as never).a,
  ],
  [
    'a value from one side of a when',
    /inside a branch or loop that has ended/,
    ($) => {
      let inner = $.u32(0);
      $.when(
        $.randomU32().eq(1),
        () => (inner = $.randomU32()),
        () => $.u32(1),
      );
      return inner;
    },
  ],
  [
    'a packet resized while looking ahead',
    /resize packet: not while looking ahead/,
    (_$, packet) => {
      packet.ahead(() => {
        packet.adjustTail(-1).orExit(XDP.DROP);
      });
      return XDP.PASS;
    },
  ],
  [
    'if for $.if',
    /never used; a decision of the kernel is written \$\.if/,
    ($) => {
      if ($.randomU32().eq(1)) return XDP.DROP;
      return XDP.PASS;
    },
  ],
  [
    'a look-up that is not looked at',
    /looking up table is never looked at/,
    ($) => {
      $.lookup(table, 1);
      return XDP.PASS;
    },
  ],
  [
    'a header that is not looked at',
    /eth header is never looked at/,
    (_$, packet) => {
      packet.take(Eth);
      return XDP.PASS;
    },
  ],
  [
    'a forgotten return',
    /drop XDP\.DROP: .* write return in front/,
    ($) => {
      $.if($.randomU32().eq(1), () => {
        // oxlint-disable-next-line no-unused-expressions -- the mistake
        XDP.DROP;
      });
      return XDP.PASS;
    },
  ],
  [
    'a forgotten return in front of a function that gives a verdict',
    /drop XDP\.DROP: .* write return in front\n[^]*> +\d+ \| +drop\('a'\);/,
    ($) => {
      const drop = (_why: string): typeof XDP.DROP => XDP.DROP;
      const dropIt = (why: string): unknown => {
        return drop(why);
      };
      drop('used').code.toFixed();
      const kept = [drop('kept'), XDP.PASS, dropIt('kept')];
      $.if($.randomU32().eq(1), () => {
        drop('a');
      });
      return kept[0];
    },
  ],
  [
    'a redirect without return',
    /drop \$\.redirect: .* write return in front/,
    ($) => {
      $.if($.randomU32().eq(1), () => {
        $.redirect(devices, 0, XDP.PASS);
      });
      return XDP.PASS;
    },
  ],
  [
    'a redirect whose other verdict is one as well',
    /redirect into devices: where there is nothing under the key/,
    ($) => $.redirect(devices, 0, XDP.REDIRECT),
  ],
  [
    'a redirect to ingress in XDP',
    /redirect to ingress: only programs of traffic control can/,
    ($) => ($ as unknown as TcBuilder).redirect(1, { ingress: true }),
  ],
  [
    'a forgotten return in a function',
    /drop XDP\.TX: /,
    ($) => {
      const fn = func('forgetful', [32], 32, () => {
        // oxlint-disable-next-line no-unused-expressions -- the mistake
        XDP.TX;
        return 0;
      });
      return $.invoke(fn, 1);
    },
  ],
  ['an action made by hand', /a value of type object is not a verdict/, () => ({ kind: 'XDP', name: 'DROP', code: 7 })],
  ['a number for a verdict', /2 is not a verdict of this program; return one of XDP/, () => 2],
  ['an action of another kind of program', /TC\.OK is not a verdict of this program/, () => TC.OK],
  ['a wide number for a verdict', /an Int of 64 bits is not a verdict/, ($) => $.u64(2)],
  [
    'a packet of XDP asked for what traffic control has',
    /call packet\.totalLength: only the packet of a traffic-control program has it/,
    (_$, packet) => (packet as unknown as TcPacket).totalLength(),
  ],
  [
    'a header used after a helper that changes the packet',
    /use eth: the packet was resized since/,
    ($, packet) => {
      const eth = packet.take(Eth).orExit(XDP.PASS);
      $.call('xdp_adjust_head', packet, -4);
      eth.set({ proto: 1 });
      return XDP.PASS;
    },
  ],
  [
    'a header used after a tail call',
    /use eth: the packet was resized since/,
    ($, packet) => {
      const eth = packet.take(Eth).orExit(XDP.PASS);
      $.tailCall(programArray('others', { maxEntries: 1 }), packet, 0);
      eth.set({ proto: 1 });
      return XDP.PASS;
    },
  ],
  [
    'the packet of the program used inside a function',
    /use packet: it belongs to another program or function; .* globalFunc/,
    ($, packet) => {
      const fn = func('outer_packet', [32], 32, (_inner) => {
        packet.remaining();
        return 0;
      });
      return $.invoke(fn, 1);
    },
  ],
  [
    'the packet of the program handed to a helper inside a function',
    /use packet: it belongs to another program or function/,
    ($, packet) => {
      const fn = func('outer_context', [32], 32, (inner) => inner.call('xdp_adjust_head', packet, 0).u32());
      return $.invoke(fn, 1);
    },
  ],
  [
    'the packet of the program handed on by a function',
    /use packet: it belongs to another program or function/,
    ($, packet) => {
      const length = globalFunc('length', ['packet'], 32, (_inner, frame) => frame.position());
      const fn = func('outer_handed', [32], 32, (inner) => inner.invoke(length, packet));
      return $.invoke(fn, 1);
    },
  ],
  [
    'the packet of the program handed to a function of the kernel inside a function',
    /use packet: it belongs to another program or function/,
    ($, packet) => {
      const fn = func('outer_kernel', [32], 32, (inner) => inner.callKernel('bpf_xdp_pull_data', packet, 1));
      return $.invoke(fn, 1);
    },
  ],
  [
    'a tail call with the packet of the program inside a function',
    /use packet: it belongs to another program or function/,
    ($, packet) => {
      const fn = func('outer_tail', [32], 32, (inner) => {
        inner.tailCall(programArray('others', { maxEntries: 1 }), packet, 0);
        return 0;
      });
      return $.invoke(fn, 1);
    },
  ],
  [
    'the builder of the program used inside a function',
    /use value: it belongs to another program or function/,
    ($) => {
      const fn = func('outer_builder', [32], 32, () => {
        $.update(table, 1, 2);
        return 0;
      });
      return $.invoke(fn, 1);
    },
  ],
  [
    'a socket of the program used inside a function',
    /use socket: it belongs to another program or function; look it up in the function/,
    ($, packet) => {
      packet.tcpSocket($.stack(struct('tuple', { words: array(u32, 3) })), 12, (socket) => {
        $.invoke(func('outer_socket', [], 32, () => socket.state));
      });
      return XDP.PASS;
    },
  ],
  [
    'a socket of the program handed to a function of the kernel inside a callback',
    /use socket: it belongs to another program or function/,
    ($, packet) => {
      packet.tcpSocket($.stack(struct('tuple', { words: array(u32, 3) })), 12, (socket) => {
        $.repeat(1, (inner) => {
          inner.callKernel('bpf_no_such_function', socket);
        });
      });
      return XDP.PASS;
    },
  ],
  [
    'a socket as TCP, handed to a helper inside a callback',
    /use socket: it belongs to another program or function/,
    ($, packet) => {
      packet.tcpSocket($.stack(struct('tuple', { words: array(u32, 3) })), 12, (socket) => {
        socket.asTcp().match({
          some: (tcp) => {
            $.repeat(1, (inner) => {
              inner.call('sk_release', tcp);
            });
          },
        });
      });
      return XDP.PASS;
    },
  ],
  [
    'a socket used after its block',
    /made inside a branch or loop that has ended/,
    ($, packet) => {
      let kept: { readonly state: unknown } | undefined;
      packet.tcpSocket($.stack(struct('tuple', { words: array(u32, 3) })), 12, (socket) => {
        kept = socket;
      });
      void kept?.state;
      return XDP.PASS;
    },
  ],
  [
    'a header of the packet used inside a function',
    /belongs to another program or function/,
    ($, packet) => {
      const eth = packet.take(Eth).orExit(XDP.PASS);
      const fn = func('outer_header', [32], 32, () => eth.proto.host().u32());
      return $.invoke(fn, 1);
    },
  ],
  [
    'a header used after a function of the kernel that changes the packet',
    /use eth: the packet was resized since/,
    ($, packet) => {
      const eth = packet.take(Eth).orExit(XDP.PASS);
      $.callKernel('bpf_xdp_pull_data', packet, 100);
      eth.set({ proto: 1 });
      return XDP.PASS;
    },
  ],
  [
    'a header used after a function that changes the packet',
    /use eth: the packet was resized since/,
    ($, packet) => {
      const grow = globalFunc('grow', ['packet'], 32, (inner, frame) => inner.call('xdp_adjust_tail', frame, 4).u32());
      const outer = globalFunc('outer', ['packet'], 32, (inner, frame) => inner.invoke(grow, frame));
      const eth = packet.take(Eth).orExit(XDP.PASS);
      $.invoke(outer, packet);
      eth.set({ proto: 1 });
      return XDP.PASS;
    },
  ],
  ['no verdict', /the body returned no verdict/, () => undefined],
  [
    'an orExit that does not leave',
    /the block returned no verdict/,
    ($) => {
      $.lookup(table, 1).orExit((() => {}) as never);
      return XDP.PASS;
    },
  ],
  [
    'a value of a branch that ended',
    /inside a branch or loop that has ended/,
    ($) => {
      let inner = $.u32(0);
      $.if($.randomU32().eq(1), () => {
        inner = $.randomU32();
      });
      return inner;
    },
  ],
  [
    'a value of another program',
    /belongs to another program/,
    ($) => {
      let foreign = $.u32(0);
      xdp('other', (_) => {
        foreign = _.randomU32();
        return XDP.PASS;
      });
      return foreign.add(1);
    },
  ],
  ['widths that do not mix', /combine u32 with u64: widths do not mix/, ($) => $.randomU32().add($.u64(1) as never)],
  ['a number that does not fit', /300: it does not fit 8 bits/, ($) => $.u8(300).u32()],
  ['a number that is not whole', /not a whole number/, ($) => $.u32(0.5)],
  ['a shift beyond the width', /a u32 has fewer bits/, ($) => $.randomU32().shl(32)],
  [
    'an index that may lie outside',
    /the index may reach 7 and the array has 5/,
    ($) => $.at(lists, 0).items.at($.randomU32().and(7)),
  ],
  [
    'a loop without end',
    /loop 0 times/,
    ($) => {
      $.loop(0, () => {});
      return XDP.PASS;
    },
  ],
  [
    'a loop as often as a value of the kernel says',
    /loop a value of the kernel times: .* loop\.breakIf\(round\.ge\(count\)\)/,
    ($) => {
      $.loop($.randomU32() as never, () => {});
      return XDP.PASS;
    },
  ],
  [
    'a constant made of a value of the kernel',
    /\$\.u32 of a value of the kernel: use it as it is, or convert it with value\.u32\(\)/,
    ($) => $.u32($.randomU32() as never),
  ],
  ['a constant made of nothing', /\$\.u32 of a value of type undefined/, ($) => $.u32(undefined as never)],
  [
    'a function that calls itself',
    /cannot call itself/,
    ($) => {
      const again: ReturnType<typeof func<[32], 32>> = func('again', [32], 32, (inner, value) =>
        inner.invoke(again, value),
      );
      return $.invoke(again, 1);
    },
  ],
  [
    'two maps of one name',
    /another map of this name/,
    ($) => {
      $.at(lists, 0);
      $.at(arrayMap('lists', { value: u32, maxEntries: 1 }), 0);
      return XDP.PASS;
    },
  ],
];

it.each(MISTAKES)('refuses %s, at the line of the author', (_what, reason, body) => {
  const message = expectRefusal(
    () => {
      xdp('mistake', body as never);
    },
    reason,
    import.meta.filename,
  );
  expect(message).toContain('| ');
});

it('refuses a struct whose fields are not aligned, and says what to put before', () => {
  expect(() => struct('bad', { a: u8, b: u32 })).toThrow(/field b would lie at byte 1.*pad: bytes\(3\)/);
  expect(() => struct('bad', { set: u32 })).toThrow(/cannot be called set/);
  expect(() => struct('bad', { b: u8, 1: u8 })).toThrow(/cannot be called 1: JavaScript would put it in front/);
  expect(() => array(struct('odd', { a: u32, b: u8 }), 2)).toThrow(
    /elements have 5 bytes .* multiples of 4.*bytes\(3\)/,
  );
});

it('refuses names that cannot stand in BTF', () => {
  const refusal = (what: string) => new RegExp(`define ${what} "a name": a name has 1 to 127 letters`);
  expect(() => xdp('a name', () => XDP.PASS)).toThrow(refusal('program'));
  expect(() => struct('a name', { a: u8 })).toThrow(refusal('struct'));
  expect(() => func('a name', [32], 32, (_$, value) => value)).toThrow(refusal('func'));
  expect(() => globalFunc('a name', [32], 32, (_$, value) => value)).toThrow(refusal('func'));
  expect(() => xdp('1st', () => XDP.PASS)).toThrow(/begins with no digit/);
});

it('refuses in a traffic-control program what only XDP has', () => {
  const calls = ['adjustHead', 'adjustTail', 'receiveQueue'] as const;
  for (const name of calls) {
    expect(() =>
      tc('mistake', (_$, packet) => {
        (packet as unknown as XdpPacket)[name](0);
        return TC.OK;
      }),
    ).toThrow(new RegExp(`call packet\\.${name}: only the packet of an XDP program has it`));
  }
  expect(() => tc('mistake', ($) => ($ as unknown as XdpBuilder).redirect(devices, 0, XDP.PASS))).toThrow(
    /redirect into devices: only XDP programs can; give the index of an interface/,
  );
});
