import { expect, it } from 'vitest';
import {
  array,
  arrayMap,
  be32,
  type Builder,
  compile,
  dump,
  type EnumMember,
  enumOf,
  type EnumValue,
  func,
  globalFunc,
  type Int,
  Program,
  type ProgramSpec,
  struct,
  u32,
  u8,
  verifierVisits,
  XDP,
  xdp,
  type XdpBuilder,
  type XdpPacket,
} from '../../src/ebpf/index.ts';
import { describeAsRoot } from '../support/as-root.ts';

const Words = struct('words', { a: u32, b: u32, c: u32, d: be32 });
const Byte = struct('byte', { value: u8 });

/** A frame that begins with these words, in the host's order. */
function words(...values: readonly number[]): Buffer {
  const data = Buffer.alloc(64);
  values.forEach((value, index) => data.writeUInt32LE(value, 4 * index));
  return data;
}

/** What a program returns for each frame, through both back ends. */
function verdicts(spec: ProgramSpec, frames: readonly Uint8Array[]): number[] {
  const [optimized, naive] = (['optimizing', 'naive'] as const).map((backend) => {
    using program = Program.load(spec, { backend });
    return frames.map((data) => program.testRun({ data }).verdict);
  });
  expect(naive).toEqual(optimized);
  return optimized!;
}

const program = (body: ($: XdpBuilder, packet: XdpPacket) => Int<32>): ProgramSpec => xdp('language', body);
const sizeOf = (spec: ProgramSpec): number => compile(spec).insns.length;
const steps = (spec: ProgramSpec): number => verifierVisits(spec).reduce((sum, count) => sum + count, 0);
const decisionsIn = (spec: ProgramSpec): number => dump(spec).bytecode.split(': if ').length - 1;

describeAsRoot('inline', () => {
  it('comes out early with a value, or with that of its end', () => {
    const spec = program(($, packet) => {
      const { a, b } = packet.take(Words).orExit(XDP.ABORTED);
      const grade = $.inline(32, (out) => {
        out.if(a.lt(10), () => 1);
        out.if(a.lt(20), () => {
          out.if(b.eq(7), () => b.mul(100));
        });
        out.loop(3, (round, loop) => {
          loop.continueIf(round.eq(0));
          out.if(b.eq(round), () => round.add(50));
        });
        return a.add(b);
      });
      return grade.add(1000);
    });
    expect(verdicts(spec, [words(5, 7), words(15, 7), words(15, 2), words(15, 0), words(30, 7)])).toEqual([
      1001, 1700, 1052, 1015, 1037,
    ]);
  });

  it('gives records, of which each path says every number', () => {
    const spec = program(($, packet) => {
      const { a, b } = packet.take(Words).orExit(XDP.ABORTED);
      const { reason, size } = $.inline({ reason: 32, size: 64 }, (out) => {
        out.if(a.eq(1), () => ({ reason: 7, size: b.u64().shl(33) }));
        return { reason: b, size: 1n << 40n };
      });
      return reason.add(size.shr(32).u32());
    });
    expect(verdicts(spec, [words(1, 3), words(2, 3)])).toEqual([7 + 6, 3 + 256]);
  });

  it('lets blocks of the program around it leave the program, and those leave it by name', () => {
    const spec = program(($, packet) => {
      const { a } = packet.take(Words).orExit(XDP.ABORTED);
      const value = $.inline(32, (out) => {
        $.if(a.eq(1), () => XDP.DROP);
        const more = packet.take(Words).orExit(() => out.leave(5));
        out.if(
          a.eq(2),
          () => more.a,
          () =>
            $.if(
              a.eq(3),
              () => XDP.TX,
              () => out.leave(9),
            ),
        );
        return 0;
      });
      return value.add(100);
    });
    const long = (a: number): Buffer => words(a, 0, 0, 0, 42);
    expect(verdicts(spec, [long(1), long(2), long(3), long(4), words(4).subarray(0, 20)])).toEqual([
      XDP.DROP.code,
      142,
      XDP.TX.code,
      109,
      105,
    ]);
  });

  it('works inside another, in a loop, and leaves the outer one from the inner', () => {
    const spec = program(($, packet) => {
      const { a, b } = packet.take(Words).orExit(XDP.ABORTED);
      return $.inline(32, (outer) => {
        const sum = $.let($.u32(0));
        $.loop(5, (round) => {
          const part = $.inline(32, (inner) => {
            inner.if(round.eq(a), () => outer.leave(sum.add(1000)));
            inner.if(round.and(1).eq(0), () => b);
            return 1;
          });
          sum.set(sum.add(part));
        });
        return sum;
      });
    });
    expect(verdicts(spec, [words(9, 10), words(3, 10), words(0, 10)])).toEqual([32, 1021, 1000]);
  });

  it('brings the cursor of every path together, also of one that was looking ahead', () => {
    const spec = program(($, packet) => {
      const { value } = packet.take(Byte).orExit(XDP.ABORTED);
      $.inline(8, (out) => {
        out.if(value.eq(0), () => 0);
        packet.ahead(() => {
          packet.take(Words).orExit(XDP.ABORTED);
          out.if(value.eq(1), () => 0);
        });
        packet.take(Byte).orExit(XDP.ABORTED);
        out.if(value.eq(2), () => 0);
        packet.skip(value.and(7), { max: 7 }).orExit(XDP.ABORTED);
        return 0;
      });
      return packet.take(Byte).orExit(XDP.ABORTED).value.u32();
    });
    const frame = (first: number): Buffer => {
      const data = Buffer.from(Array.from({ length: 64 }, (_, index) => index));
      data.writeUInt8(first, 0);
      return data;
    };
    expect(verdicts(spec, [0, 1, 2, 5].map(frame))).toEqual([1, 1, 2, 7]);
  });

  it('and flags in variables cost no decision of their own', () => {
    const numbers = arrayMap('numbers', { value: struct('numbers', { list: array(u32, 4) }), maxEntries: 1 });
    const [inlined, byHand] = [
      program(($, packet) => {
        const { a, b } = packet.take(Words).orExit(XDP.ABORTED);
        const reason = $.inline(32, (out) => {
          out.if(a.eq(1), () => 3);
          out.if(b.eq($.at(numbers, 0).list.at(0)), () => 4);
          out.if(b.eq($.at(numbers, 0).list.at(1)), () => 5);
          return 0;
        });
        $.if(reason.ne(0), () => XDP.DROP);
        return reason.add(b);
      }),
      program(($, packet) => {
        const { a, b } = packet.take(Words).orExit(XDP.ABORTED);
        const reason = $.let($.u32(0));
        $.if(a.eq(1), () => {
          reason.set(3);
        });
        $.if(reason.eq(0), () => {
          $.if(b.eq($.at(numbers, 0).list.at(0)), () => {
            reason.set(4);
          });
        });
        $.if(reason.eq(0), () => {
          $.if(b.eq($.at(numbers, 0).list.at(1)), () => {
            reason.set(5);
          });
        });
        $.if(reason.ne(0), () => XDP.DROP);
        return reason.add(b);
      }),
    ].map((spec) => decisionsIn(spec));
    expect([inlined, byHand]).toEqual([4, 4]);
  });

  it('is not asked again for what its path has settled', () => {
    const after = program(($, packet) => {
      const { a, b } = packet.take(Words).orExit(XDP.ABORTED);
      const reason = $.inline(32, (out) => {
        out.if(a.eq(1), () => 3);
        out.if(b.eq(2), () => 4);
        return 0;
      });
      $.if(reason.ne(0), () => XDP.DROP);
      return $.u32(2);
    });
    const plain = program(($, packet) => {
      const { a, b } = packet.take(Words).orExit(XDP.ABORTED);
      $.if(a.eq(1), () => XDP.DROP);
      $.if(b.eq(2), () => XDP.DROP);
      return $.u32(2);
    });
    const frames = [words(1, 0), words(0, 2), words(0, 0)];
    expect(verdicts(after, frames)).toEqual(verdicts(plain, frames));
    expect([sizeOf(after), decisionsIn(after)]).toEqual([sizeOf(plain), decisionsIn(plain)]);
  });

  it('is nothing where only one path comes out', () => {
    const plain = program(($, packet) => {
      const { a } = packet.take(Words).orExit(XDP.ABORTED);
      $.if(a.eq(1), () => XDP.DROP);
      return a.add(2);
    });
    const inlined = program(($, packet) => {
      const { a } = packet.take(Words).orExit(XDP.ABORTED);
      return $.inline(32, () => {
        $.if(a.eq(1), () => XDP.DROP);
        return a;
      }).add($.inline(32, () => 2));
    });
    expect(sizeOf(inlined)).toBe(sizeOf(plain));
  });
});

describeAsRoot('when', () => {
  it('runs one block, and gives numbers, network order and records', () => {
    const spec = program(($, packet) => {
      const header = packet.take(Words).orExit(XDP.ABORTED);
      const count = $.let($.u32(0));
      const counted = (value: Int<32>): Int<32> => {
        count.set(count.add(1));
        return value;
      };
      const number = $.when(
        header.a.eq(1),
        () => counted(header.b),
        () => counted($.u32(9)),
      );
      const network = $.when(
        header.a.eq(2),
        () => header.d,
        () => $.u32(7).toNetwork(),
      );
      const { x, inner } = $.when(
        header.a.hasAny(3).and(header.b.ne(0)),
        () => ({ x: header.b, inner: { y: count } }),
        () => ({ inner: { y: $.u32(50) }, x: $.u32(60) }),
      );
      count.set(1000); // what was read of the variable stays
      const left = $.when(
        header.a.ne(4),
        () => $.u32(0),
        () => $.leave(XDP.TX),
      );
      return number.mul(10_000).add(network.host().mul(1000)).add(x).add(inner.y).add(left);
    });
    const d = (value: number): number => Buffer.from([0, 0, 0, value]).readUInt32LE();
    expect(verdicts(spec, [words(1, 2, 0, d(5)), words(2, 3, 0, d(5)), words(4, 3), words(8, 3)])).toEqual([
      2 * 10_000 + 7000 + 2 + 1,
      9 * 10_000 + 5000 + 3 + 1,
      XDP.TX.code,
      9 * 10_000 + 7000 + 110,
    ]);
  });

  it('settles what is known while building', () => {
    const spec = program(($) => {
      const constant = $.u32(6).mul(7);
      expect(constant.constant).toBe(42n);
      expect($.randomU32().constant).toBeUndefined();
      const known = $.when(
        constant.eq(42),
        () => constant.add(1),
        () => $.randomU32(),
      );
      expect([known.constant, $.select($.false, $.randomU32(), known).constant]).toEqual([43n, 43n]);
      $.if($.false.or(known.ne(43)), () => XDP.DROP);
      $.if($.true.and(known.eq(43)), () => known.add(1));
      return $.u32(0);
    });
    expect(dump(spec).ir).not.toContain('branch');
    expect(verdicts(spec, [words()])).toEqual([44]);
  });
});

describeAsRoot('values', () => {
  const cells = arrayMap('cells', {
    value: struct('cells', { list: array(u32, 2), pair: struct('pair', { x: u32, y: be32 }) }),
    maxEntries: 1,
  });

  it('keep what a variable or a record had when it was read', () => {
    const spec = program(($) => {
      const variable = $.let($.u32(1));
      const before = variable.value;
      variable.set(10);
      const cell = $.at(cells, 0);
      cell.pair.set({ x: 100, y: 100 });
      cell.list.ref(1).set(100);
      const { list, pair } = cell.read();
      cell.pair.set({ x: 0, y: 0 });
      cell.list.ref(1).set(0);
      return before.add(variable).add(list[1]!).add(pair.x).add(pair.y.host());
    });
    expect(verdicts(spec, [words()])).toEqual([311]);
  });

  it('are copies where an enum or a macro keeps a variable', () => {
    const Listed = enumOf('listed', { NO: 0, DENY: 2 });
    const spec = program(($, packet) => {
      const { a } = packet.take(Words).orExit(XDP.ABORTED);
      const number = $.let(a);
      const kept: Int<32> = (number as Int<32>).value;
      const listed = Listed.of(number);
      number.set(2);
      const variable = $.let(Listed.NO);
      const before = variable.u32();
      variable.set(Listed.DENY);
      $.if(listed.eq(Listed.DENY), () => XDP.ABORTED);
      return before.add(kept).add(variable.u32().mul(10));
    });
    expect(verdicts(spec, [words(1), words(7)])).toEqual([21, 27]);
  });

  it('are forgotten by the verifier and stay what they were, in every width', () => {
    const forgotten = program(($, packet) => {
      const { a } = packet.take(Words).orExit(XDP.ABORTED);
      const wide = a.u64().shl(32).forget().shr(32).u32();
      return wide.add(a.u8().forget().u32()).add(a.u16().forget().u32()).add($.u32(1).forget());
    });
    expect(verdicts(forgotten, [words(0x10203)])).toEqual([0x10203 + 3 + 0x203 + 1]);

    // What follows a comparison with a known number is walked once for each number.
    const rounds = (forget: boolean): ProgramSpec =>
      program(($, packet) => {
        const { a, b } = packet.take(Words).orExit(XDP.ABORTED);
        const sum = $.let($.u32(0));
        const count = (bit: number): void => {
          $.if(a.hasAny(1 << bit), () => {
            sum.set(sum.add(1));
          });
        };
        for (let bit = 0; bit < 8; bit++) count(bit);
        const bits = forget ? sum.forget() : sum.value;
        for (let limit = 10; limit < 30; limit++) $.if(bits.add(limit).eq(b), () => XDP.TX);
        $.if(bits.gt(100), () => XDP.DROP);
        return bits;
      });
    expect(verdicts(rounds(true), [words(5), words(255)])).toEqual([2, 8]);
    const visits = [true, false].map((forget) => steps(rounds(forget)));
    expect(visits[0]!).toBeLessThan(visits[1]! / 2);
  });
});

describeAsRoot('loop', () => {
  it('reaches nothing behind break', () => {
    const spec = program(($, packet) => {
      const { a } = packet.take(Words).orExit(XDP.ABORTED);
      const rounds = $.let($.u32(0));
      $.loop(4, (_round, loop) => {
        rounds.set(rounds.add(1));
        $.if(a.eq(1), () => loop.break());
        $.if(a.eq(2), () => {
          loop.break();
          rounds.set(100);
        });
        $.if(
          a.eq(3),
          () => XDP.TX,
          () =>
            $.if(
              a.eq(4),
              () => loop.break(),
              () => loop.break(),
            ),
        );
        rounds.set(200);
      });
      return rounds.add(0);
    });
    expect(verdicts(spec, [words(1), words(2), words(3), words(4)])).toEqual([1, 1, XDP.TX.code, 1]);
  });
});

const Listed = enumOf('listed', { NO: 0, ALLOW: 1, DENY: 2 });

type AnyListed = EnumValue<'listed'> | EnumMember<'listed'>;

/** ALLOW where the number is 1; else DENY for ALLOW, and others as they are. */
function choose($: Builder<AnyListed>, listed: EnumValue<'listed'>, number: Int<32>): AnyListed {
  $.if(number.eq(1), () => Listed.ALLOW);
  $.if(listed.eq(Listed.ALLOW), () => Listed.DENY);
  return listed;
}

describeAsRoot('enums', () => {
  it('are what inlines, variables and blocks give, and compare by their fixed numbers', () => {
    const spec = program(($, packet) => {
      const { a, b } = packet.take(Words).orExit(XDP.ABORTED);
      const listed = $.inline(Listed, (out) => {
        out.if(a.eq(1), () => Listed.ALLOW);
        out.if(a.eq(2), () => Listed.of(b));
        return Listed.NO;
      });
      const { found, size } = $.inline({ found: Listed, size: 32 }, () => ({ found: listed, size: 7 }));
      const chosen = $.when(
        b.eq(2),
        () => ({ found: Listed.DENY }),
        () => ({ found }),
      );
      const variable = $.let(Listed.NO);
      const before = variable.value;
      $.if(chosen.found.ne(Listed.NO), () => variable.set(chosen.found));
      $.if(before.ne(Listed.NO), () => XDP.ABORTED);
      $.if(variable.oneOf([Listed.ALLOW, Listed.DENY]).and(variable.eq(listed)), () => $.leave(XDP.TX));
      return listed.u32().mul(1000).add(variable.u32().mul(100)).add(size);
    });
    expect(verdicts(spec, [words(0, 0), words(0, 2), words(1, 0), words(2, 1), words(1, 2)])).toEqual([
      7,
      200 + 7,
      XDP.TX.code,
      XDP.TX.code,
      1000 + 200 + 7,
    ]);
    expect([Listed.DENY.name, Listed.DENY.number]).toEqual(['DENY', 2]);
  });

  it.each([
    ['a function', func('listed', [Listed, 32], Listed, choose)],
    ['a global function', globalFunc('listed', [Listed, 32], Listed, choose)],
  ])('are parameters and results of %s', (_what, fn) => {
    const spec = program(($, packet) => {
      const { a, b } = packet.take(Words).orExit(XDP.ABORTED);
      const known = $.invoke(fn, Listed.of(a), b);
      const variable = $.let($.invoke(fn, Listed.DENY, b));
      const again = $.invoke(fn, variable, 0);
      variable.set(Listed.NO);
      return known.u32().mul(100).add(again.u32());
    });
    expect(verdicts(spec, [words(0, 1), words(1, 0), words(2, 1), words(0, 5)])).toEqual([102, 202, 102, 2]);
  });

  it('cost what their numbers cost', () => {
    const sized = (named: boolean): number =>
      sizeOf(
        program(($, packet) => {
          const { a } = packet.take(Words).orExit(XDP.ABORTED);
          if (named) $.if(Listed.of(a).eq(Listed.DENY), () => XDP.DROP);
          else $.if(a.eq(2), () => XDP.DROP);
          return $.u32(2);
        }),
      );
    expect(sized(true)).toBe(sized(false));
  });
});
