/**
 * Whether anybody listens where a SYN goes. The answer of a look-up in the socket tables is kept for a moment, because a look-up
 * costs more than everything else that is done with a SYN:
 *
 *     | 63 .. 32 part of the hash of address and port | 31 .. 1 until, in units of 2^24 ns | 0 listening |
 */
import { type Builder, type Int, type Packet, type Socket, struct, TCP_LISTEN, u32, u64 } from '../ebpf/language.ts';
import { keyedHash } from './hash.ts';
import { LISTENERS, type ProtectionMaps } from './maps.ts';
import type { Segment } from './parse.ts';

/** `struct bpf_sock_tuple` (linux/bpf.h), as words in memory order. */
export const Tuple4 = struct('tuple4', { saddr: u32, daddr: u32, ports: u32 });
export const Tuple6 = struct('tuple6', { saddr0: u64, saddr1: u64, daddr0: u64, daddr1: u64, ports: u32 });
/** The kernel takes the structures without our padding. */
export const TUPLE_SIZE = { 4: 12, 6: 36 } as const;

const UNIT_SHIFT = 24;
const UNTIL_MASK = 0x7fff_ffff;
/** About a quarter of a second: units of 17 ms. */
const LIFETIME = 15;

/** Gives 1 where somebody listens. `refresh` runs with the listener's socket whenever the tables are asked. */
export function listening<R>(
  $: Builder<R>,
  packet: Packet<R>,
  maps: ProtectionMaps,
  { destination, tcp, family }: Segment,
  now: Int<64>,
  refresh: (socket: Socket<R>) => void = () => {},
): Int<32> {
  const found = $.let($.u32(0));
  const to = destination();
  const port = tcp.dest.raw().u64();
  const hash = keyedHash($, maps, [...to.slice(0, -1), to.at(-1)!.xor(port.shl(40))]);
  $.lookup(maps.listeners, hash.u32().and(LISTENERS - 1)).match({
    some: (place) => {
      const word = place.value;
      const units = now.shr(UNIT_SHIFT).u32().and(UNTIL_MASK);
      const left = word.u32().shr(1).sub(units).and(UNTIL_MASK);
      $.if(
        word.shr(32).eq(hash.shr(32)).and(left.le(LIFETIME)),
        () => {
          found.set(word.u32().and(1));
        },
        () => {
          // No source: only a listener fits.
          const ports = tcp.dest.raw().u32().shl(16);
          const tuple = family === 4 ? $.stack(Tuple4) : $.stack(Tuple6);
          if (family === 4) tuple.set({ saddr: 0, daddr: to[0]!.u32(), ports });
          else tuple.set({ saddr0: 0, saddr1: 0, daddr0: to[0]!, daddr1: to[1]!, ports });
          packet.tcpSocket(tuple, TUPLE_SIZE[family], (socket) => {
            $.if(socket.state.eq(TCP_LISTEN), () => {
              found.set(1);
              refresh(socket);
            });
          });
          const until = units.add(LIFETIME).and(UNTIL_MASK).shl(1).or(found);
          place.set({ value: hash.shr(32).shl(32).or(until.u64()) });
        },
      );
    },
  });
  return found;
}
