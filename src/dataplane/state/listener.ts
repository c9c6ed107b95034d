/**
 * Whether anybody listens where a SYN goes. The answer of a look-up in the socket tables is kept for a moment, because a look-up
 * costs more than everything else that is done with a SYN:
 *
 *     | 63 .. 32 part of the hash of address and port | 31 .. 1 until, in units of 2^24 ns | 0 listening |
 */
import { arrayMap, type Builder, type Int, type Packet, type Socket, TCP_LISTEN, u64 } from '../../ebpf/language.ts';
import { mapGroup } from '../maps.ts';
import { type KeyMaps, keyedHash } from './hash.ts';
import { Address } from '../frame/address.ts';
import type { Segment } from '../frame/parse.ts';
import { socketTuple } from '../frame/socket-tuple.ts';

/** Places where it is remembered for a moment whether somebody listens on an address and port. */
const LISTENERS = 4096;

export const listenerGroup = mapGroup({
  specs: () => ({ listeners: arrayMap('listeners', { value: u64, maxEntries: LISTENERS, mmap: true }) }),
});
export type ListenerMaps = ReturnType<typeof listenerGroup.specs>;

const UNIT_SHIFT = 24;
const UNTIL_MASK = 0x7fff_ffff;
/** About a quarter of a second: units of 17 ms. */
const LIFETIME = 15;

/** Gives 1 where somebody listens. `refresh` runs with the listener's socket whenever the tables are asked. */
export function listening<R>(
  $: Builder<R>,
  packet: Packet<R>,
  maps: ListenerMaps & KeyMaps,
  { destination, tcp }: Segment,
  now: Int<64>,
  refresh: (socket: Socket<R>) => void = () => {},
): Int<32> {
  const found = $.let($.u32(0));
  const port = tcp.dest.raw().u64();
  const words = destination.words();
  const hash = keyedHash($, maps, destination.family, [...words.slice(0, -1), words.at(-1)!.xor(port.shl(40))]);
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
          const nobody = Address.unspecified($, destination.family);
          const [tuple, size] = socketTuple($, nobody, destination, tcp.dest.raw().u32().shl(16));
          packet.tcpSocket(tuple, size, (socket) => {
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
