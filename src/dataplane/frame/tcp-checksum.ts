/** The TCP checksum of a SYN. The kernel and the link check it behind XDP; who answers in their place has to do it himself. */
import { array, type Builder, globalFunc, type Int, type Packet, struct, u32, type View } from '../../ebpf/language.ts';
import { isWholeSum } from '../../net/checksum.ts';
import { IPPROTO, Tcp } from '../../net/headers.ts';
import type { Policy } from '../../policy/policy.ts';
import type { Segment } from './parse.ts';

/** The header with the options of Linux, and of Windows, and what any other begins with and goes on with. */
const WithLinuxOptions = struct('tcp_words_10', { words: array(u32, 10) });
const WithWindowsOptions = struct('tcp_words_8', { words: array(u32, 8) });
const Bare = struct('tcp_words_5', { words: array(u32, 5) });
const Word = struct('tcp_word', { value: u32 });
const CHECKSUM_WORD = Tcp.offsets.checksum / 4;
const MAX_OPTION_WORDS = 10;
const MAX_OFFSET = 0x7fff;

/** Gives 1 where the checksum of a header of so many bytes is wrong; one function, so that the verifier walks it once. */
const isWrong = globalFunc('tcp_checksum', ['packet', 32, 32, 64], 32, ($, packet, offset, bytes, pseudo) => {
  packet.skip(offset.and(MAX_OFFSET), { max: MAX_OFFSET }).orExit(1);
  const judge = (sum: Int<64>, word: Int<32>): Int<32> => {
    $.if(isWholeSum(sum), () => 0);
    // What is in its place is the sum of the pseudo header.
    return $.select(isWholeSum(pseudo.add(0xffff).sub(word.u64().and(0xffff))), $.u32(0), $.u32(1));
  };
  const sumOf = (view: View<(typeof Bare)['fields']>, count: number): Int<64> => {
    let sum = pseudo;
    for (let index = 0; index < count; index++) sum = sum.add(view.words.at(index).u64());
    return sum;
  };
  for (const type of [WithLinuxOptions, WithWindowsOptions]) {
    $.if(bytes.eq(type.size), () => {
      const whole = packet.peek(type).orExit(1);
      return judge(sumOf(whole, type.size / Word.size), whole.words.at(CHECKSUM_WORD));
    });
  }
  const header = packet.take(Bare).orExit(1);
  const sum = $.let(sumOf(header, Bare.size / Word.size));
  const left = $.let(bytes.sub(Bare.size).shr(2));
  $.loop(MAX_OPTION_WORDS, (_round, loop) => {
    loop.breakIf(left.eq(0));
    sum.set(sum.add(packet.take(Word).orExit(1).value.u64()));
    left.set(left.sub(1));
  });
  return judge(sum, header.words.at(CHECKSUM_WORD));
});

/** The sum of the addresses as they lie in the frame, of the protocol and of the length. */
function pseudoSum<R>($: Builder<R>, { ipv4, source, destination }: Segment, length: Int<32>): Int<64> {
  const words = ipv4
    ? [ipv4.header.saddr.raw(), ipv4.header.daddr.raw()]
    : [...source.words32(), ...destination.words32()];
  const rest = [length.u16().toNetwork().raw().u32(), $.u32(IPPROTO.TCP << 8)];
  return [...words, ...rest].map((word) => word.u64()).reduce((sum, word) => sum.add(word));
}

/** Whether SYNs with data, and in fragments, are dropped before: of these the header does not show the length, and a fragment has no whole sum. */
export const canCheck = ({ sanity }: Pick<Policy, 'sanity'>): boolean =>
  sanity.has('syn-payload') && sanity.has('syn-fragment');

/**
 * Gives 1 where the checksum of a segment without data is wrong. The cursor stands behind the TCP header. A checksum that is not finished is right: what a
 * host sends to itself, to a container or to its virtual machine holds the sum of the pseudo header alone, for a device to go on
 * with (CHECKSUM_PARTIAL, include/linux/skbuff.h).
 */
export function hasWrongChecksum<R>($: Builder<R>, packet: Packet<R>, segment: Segment): Int<32> {
  // Read anew: a number that is kept since the options were read takes a place on the stack.
  const bytes = segment.tcp.dataOffset.shr(4).u32().shl(2);
  return $.invoke(isWrong, packet, packet.position().sub(Tcp.size), bytes, pseudoSum($, segment, bytes));
}
