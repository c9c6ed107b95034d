/** Reads the TCP options of a SYN. The most common layouts are recognised by their first words; others are walked, option by option. */
import {
  be16,
  be32,
  type Builder,
  bytes,
  enumOf,
  type Fields,
  globalFunc,
  type Int,
  type IntVariable,
  type Packet,
  struct,
  type Struct,
  u32,
  u8,
  type View,
} from '../../ebpf/language.ts';
import { Tcp } from '../../net/headers.ts';
import type { LeaveWith } from './leave.ts';
import type { Segment } from './parse.ts';

/** Bits of `SynOptions.present`. */
export const Present = { MSS: 1, WINDOW_SCALE: 2, SACK: 4, TIMESTAMPS: 8, SIGNED: 16 } as const;

export interface SynOptions {
  /** Which options there are, in bits of `Present`. */
  readonly present: IntVariable<32>;
  readonly mss: IntVariable<32>;
  readonly windowScale: IntVariable<32>;
  /** The client's timestamp as it lies in memory. */
  readonly timestamp: IntVariable<32>;
  /** The timestamp that the client sends back, as it lies in memory: of use in an ACK. */
  readonly echo: IntVariable<32>;
  /** Whether the list could be read to its end: 0 where a length cannot be. */
  readonly sound: IntVariable<32>;
  /** Bytes of all options together. */
  readonly length: Int<32>;
}

const Kind = { END: 0, NOP: 1, MSS: 2, WINDOW_SCALE: 3, SACK: 4, TIMESTAMPS: 8, MD5: 19, AO: 29 } as const;
const MAX_OPTION_BYTES = 40;
/** Options begin behind tags, an IP header with its extensions and a TCP header: never this far into the frame. */
const MAX_OFFSET = 0x7fff;

/** MSS, SACK permitted, timestamps, NOP, window scale: Linux, Android. */
const Linux = struct('linux_options', { mss: be32, sackTimestamps: be32, value: u32, echo: u32, scale: be32 });
/** MSS, NOP, window scale, NOP, NOP, SACK permitted: Windows. */
const Windows = struct('windows_options', { mss: be32, scale: be32, sack: be32 });
const Mss = struct('mss_option', { kind: u8, length: u8, value: be16 });
const Scale = struct('scale_option', { kind: u8, length: u8, shift: u8 });
const Timestamps = struct('timestamps_option', { head: be16, value: bytes(4), echo: bytes(4) });
const MSS_HEAD = 0x0204_0000;

const headerBytesOf = (tcp: Segment['tcp']): Int<32> => tcp.dataOffset.shr(4).u32().shl(2);

/** Reads the options behind the TCP header, where the cursor stands. Leaves where they reach over the end of the segment. */
export function parseSynOptions<R>(
  $: Builder<R>,
  packet: Packet<R>,
  { tcp, length }: Segment,
  leave: LeaveWith<R>,
): SynOptions {
  const headerBytes = headerBytesOf(tcp);
  $.if(headerBytes.lt(Tcp.size).or(headerBytes.gt(length)), () => leave('bad-tcp-header'));
  const total = headerBytes.sub(Tcp.size);
  const zero = (): Int<32> => $.u32(0).forget();
  const options: SynOptions = {
    present: $.let(zero()),
    mss: $.let(zero()),
    windowScale: $.let(zero()),
    timestamp: $.let(zero()),
    echo: $.let(zero()),
    sound: $.let(zero().add(1)),
    // A load of its own: otherwise the verifier would tell paths apart by what it learns of `total` below.
    length: headerBytesOf(tcp).sub(Tcp.size),
  };
  const known = $.let($.u32(0));
  // Looked at from a place that the verifier does not take for this one, so that what it learns here does not tell paths apart.
  packet.ahead(() => {
    packet.skip(zero().and(63), { max: 63 }).orExit(() => leave('truncated'));
    $.if(total.eq(Linux.size), () => {
      const words = packet.peek(Linux).orExit(() => leave('truncated'));
      const layout = words.mss
        .and(0xffff_0000)
        .eq(MSS_HEAD)
        .and(words.sackTimestamps.eq(0x0402_080a))
        .and(words.scale.and(0xffff_ff00).eq(0x0103_0300));
      $.if(layout, () => {
        options.mss.set(words.mss.host().u32().and(0xffff));
        options.windowScale.set(words.scale.raw().shr(24));
        options.timestamp.set(words.value);
        options.echo.set(words.echo);
        options.present.set(zero().add(Present.MSS | Present.SACK | Present.TIMESTAMPS | Present.WINDOW_SCALE));
        known.set(1);
      });
    });
    $.if(total.eq(Windows.size), () => {
      const words = packet.peek(Windows).orExit(() => leave('truncated'));
      const layout = words.mss
        .and(0xffff_0000)
        .eq(MSS_HEAD)
        .and(words.scale.and(0xffff_ff00).eq(0x0103_0300))
        .and(words.sack.eq(0x0101_0402));
      $.if(layout, () => {
        options.mss.set(words.mss.host().u32().and(0xffff));
        options.windowScale.set(words.scale.raw().shr(24));
        options.present.set(zero().add(Present.MSS | Present.SACK | Present.WINDOW_SCALE));
        known.set(1);
      });
    });
  });
  $.if(known.eq(0).and(total.ne(0)), () => {
    const found = $.stack(Found);
    const walked = $.let($.invoke(walk, packet, packet.position(), total, found));
    $.if(walked.eq(Walked.TRUNCATED), () => leave('truncated'));
    options.sound.set(walked.u32());
    options.present.set(found.present);
    options.mss.set(found.mss);
    options.windowScale.set(found.windowScale);
    options.timestamp.set(found.timestamp);
    options.echo.set(found.echo);
  });
  return options;
}

/** What the walk finds, as in `SynOptions`, and where it stands. Before an option is read, its field holds where it ends: none ends at 0. */
const Found = struct('found_options', {
  present: u32,
  mss: u32,
  windowScale: u32,
  timestamp: u32,
  echo: u32,
  at: u32,
});
/** How the walk ended; `SynOptions.sound` are the first two. */
const Walked = enumOf('walked', { UNSOUND: 0, SOUND: 1, TRUNCATED: 2 });

const Byte = struct('kind', { kind: u8 });
const OptionHead = struct('option_head', { head: be16 });
const headOf = (kind: number, size: number): number => (kind << 8) | size;

/**
 * Goes through `total` bytes of options at `offset` of the frame, option by option, each at least a byte long. All that changes from round to round lies in
 * memory: the verifier takes what it reads there for any number, so all paths through a round are one path when the next begins. A round only
 * notes where an option is, because the verifier walks each of forty.
 */
const walk = globalFunc('walk_options', ['packet', 32, 32, Found], Walked, ($, packet, offset, total, found) => {
  packet.skip(offset.and(MAX_OFFSET), { max: MAX_OFFSET }).orExit(Walked.TRUNCATED);
  const walked = $.inline(Walked, (out) => {
    $.loop(MAX_OPTION_BYTES, () => {
      const { at } = found;
      out.if(at.ge(total), () => Walked.SOUND);
      packet.ahead(() => {
        packet.skip(at.and(63), { max: 63 }).orExit(Walked.TRUNCATED);
        const { kind } = packet.peek(Byte).orExit(Walked.TRUNCATED);
        out.if(kind.eq(Kind.END), () => Walked.SOUND);
        $.if(
          kind.eq(Kind.NOP),
          () => {
            found.set({ at: at.add(1) });
          },
          () => {
            // If the list ends after an option's first byte, the next byte is not a length; the check for the end covers this.
            const { head } = packet.peek(OptionHead).orExit(Walked.TRUNCATED);
            const size = head.host().u32().and(0xff);
            const end = at.add(size);
            out.if(size.lt(2).or(end.gt(total)), () => Walked.UNSOUND);
            found.set({ at: end });
            $.if(head.eq(headOf(Kind.MSS, Mss.size)), () => {
              found.set({ mss: end });
            });
            $.if(head.eq(headOf(Kind.WINDOW_SCALE, Scale.size)), () => {
              found.set({ windowScale: end });
            });
            $.if(head.eq(headOf(Kind.SACK, OptionHead.size)), () => {
              found.set({ present: found.present.or(Present.SACK) });
            });
            $.if(head.eq(headOf(Kind.TIMESTAMPS, Timestamps.size)), () => {
              found.set({ timestamp: end });
            });
            $.if(kind.eq(Kind.MD5).or(kind.eq(Kind.AO)), () => {
              found.set({ present: found.present.or(Present.SIGNED) });
            });
          },
        );
      });
    });
    return Walked.SOUND;
  });
  const option = <T extends Fields>(end: Int<32>, type: Struct<T>, bit: number, use: (view: View<T>) => void): void => {
    $.if(end.ne(0), () => {
      packet.ahead(() => {
        packet.skip(end.sub(type.size).and(63), { max: 63 }).orExit(Walked.TRUNCATED);
        use(packet.peek(type).orExit(Walked.TRUNCATED));
      });
      found.set({ present: found.present.or(bit) });
    });
  };
  option(found.mss, Mss, Present.MSS, ({ value }) => {
    found.set({ mss: value.host().u32() });
  });
  option(found.windowScale, Scale, Present.WINDOW_SCALE, ({ shift }) => {
    found.set({ windowScale: shift.u32() });
  });
  option(found.timestamp, Timestamps, Present.TIMESTAMPS, (stamps) => {
    found.set({ timestamp: stamps.value.words()[0]!, echo: stamps.echo.words()[0]! });
  });
  return walked;
});
