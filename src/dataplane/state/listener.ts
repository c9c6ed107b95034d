/**
 * Whether anybody listens where a SYN goes, and what must be known of it for an answer. What a look-up in the socket tables found is kept
 * for a moment, because a look-up costs more than everything else that is done with a SYN:
 *
 *     | 63 .. 40 part of the hash of address and port | 39 .. 20 until, in units of 2^24 ns | 19 .. 0 what was found |
 *     what was found: | 19 .. 8 window, in units of 16 bytes | 7 .. 4 window scale | 2 SIGNS | 1 MPTCP | 0 LISTENING |
 */
import {
  arrayMap,
  type Builder,
  type GlobalFunc,
  globalFunc,
  type Int,
  type Packet,
  type Socket,
  TCP_LISTEN,
  type TcpSocket,
  u64,
} from '../../ebpf/language.ts';
import type { Challenger, Stack } from '../cookie/challenger.ts';
import { mapGroup } from '../maps.ts';
import { type KeyMaps, keyedHash } from './hash.ts';
import { type HostMaps, isLocal } from './host.ts';
import { Address } from '../frame/address.ts';
import type { Segment } from '../frame/parse.ts';
import { socketTuple, Tuple4, Tuple6, TUPLE_SIZE } from '../frame/socket-tuple.ts';

/** Places where it is remembered for a moment whether somebody listens on an address and port. */
const LISTENERS = 4096;

export const listenerGroup = mapGroup({
  specs: () => ({ listeners: arrayMap('listeners', { value: u64, maxEntries: LISTENERS, mmap: true }) }),
});
export type ListenerMaps = ReturnType<typeof listenerGroup.specs>;

const TAG_SHIFT = 40;
const UNTIL_SHIFT = 20;
const FOUND_MASK = (1 << UNTIL_SHIFT) - 1;
const UNIT_SHIFT = 24;
const UNTIL_MASK = 0xf_ffff;
/** About a quarter of a second: units of 17 ms. */
const LIFETIME = 15;

/** Bits of what is found: somebody listens; for Multipath TCP, which takes no cookies of ours; with keys for signed segments (TCP-MD5, TCP-AO). */
export const Listener = { LISTENING: 1, MPTCP: 2, SIGNS: 4 } as const;
const SCALE_SHIFT = 4;
const WINDOW_SHIFT = 8;
const WINDOW_UNIT_SHIFT = 4;

/** The window to offer, in bytes, from the remembered bits. */
export const windowOf = (found: Int<32>): Int<32> => found.shr(WINDOW_SHIFT).shl(WINDOW_UNIT_SHIFT);
/** The window scale, from the remembered bits. */
export const windowScaleOf = (found: Int<32>): Int<32> => found.shr(SCALE_SHIFT).and(15);

/** What Linux offers a first-time peer at most here: tcp_rmem's default less its overhead, a multiple of the MSS. */
const MOST_WINDOW = 64_240;
const MAX_SCALE = 14;

/** A listener that has set nothing of its own. */
export const plainListener = ({ windowScale }: Pick<Stack, 'windowScale'>): number =>
  Listener.LISTENING | (windowScale << SCALE_SHIFT) | ((MOST_WINDOW >> WINDOW_UNIT_SHIFT) << WINDOW_SHIFT);

/** SOCK_RCVBUF_LOCK (include/net/sock.h): SO_RCVBUF was set. */
const BUFFER_LOCKED = 2;

/**
 * Window and window scale in the bits of what is found, as `tcp_select_initial_window` (net/ipv4/tcp_output.c) chooses them for a buffer of so many bytes, the share of it
 * in 256ths that is data, a clamp, and what buffers may grow to. Once for the verifier.
 */
const chosenWindow = globalFunc(
  'chosen_window',
  [32, 32, 32, 32, 32],
  32,
  ($, buffer, ratio, clamp, locked, largest) => {
    const space = buffer.u64().mul(ratio.u64()).shr(8).u32();
    const limit = $.let(clamp);
    $.if(limit.eq(0), () => {
      limit.set(0x3fff_c000); // 65,535 << 14
    });
    $.if(locked.ne(0).and(limit.gt(space)), () => {
      limit.set(space);
    });
    const window = $.let($.select(space.lt(limit), space, limit));
    $.if(window.gt(MOST_WINDOW), () => {
      window.set(MOST_WINDOW);
    });
    const largestWindow = $.let($.select(space.gt(largest), space, largest));
    $.if(largestWindow.gt(limit), () => {
      largestWindow.set(limit);
    });
    const scale = $.let($.u32(0));
    $.loop(MAX_SCALE, (_round, loop) => {
      loop.breakIf(largestWindow.shr(scale.add(16)).eq(0));
      scale.set(scale.add(1));
    });
    return window.shr(WINDOW_UNIT_SHIFT).shl(WINDOW_SHIFT).or(scale.shl(SCALE_SHIFT));
  },
);

/** What there is to know of a listener. */
function lookAt<R>($: Builder<R>, listener: TcpSocket, { listener: fields }: Stack): Int<32> {
  const { mptcp, keys, buffer, locks, clamp, ratio, largest } = fields!;
  const chosen = $.invoke(
    chosenWindow,
    listener.u32(buffer),
    listener.u8(ratio).u32(),
    listener.u32(clamp),
    listener.u8(locks).u32().and(BUFFER_LOCKED),
    $.u32(largest),
  );
  const found = $.let(chosen.and(FOUND_MASK & ~0xf).or(Listener.LISTENING));
  if (mptcp !== undefined)
    $.if(listener.u8(mptcp).ne(0), () => {
      found.set(found.or(Listener.MPTCP));
    });
  for (const key of keys)
    $.if(listener.isNull(key).not(), () => {
      found.set(found.or(Listener.SIGNS));
    });
  return found.value;
}

type Find = GlobalFunc<readonly ['packet', typeof Tuple4 | typeof Tuple6], 32>;
const finders = new WeakMap<Stack, Record<4 | 6, Find>>();

/** Asks the socket tables, in functions that the verifier walks once for each family: every place that asks comes here when it does not remember. */
function finderFor(stack: Stack, family: 4 | 6): Find {
  const find = (name: string, tuple: typeof Tuple4 | typeof Tuple6, size: number): Find =>
    globalFunc(name, ['packet', tuple], 32, ($, packet, wanted) => {
      const found = $.let($.u32(0));
      packet.tcpSocket(wanted, size, (socket) => {
        $.if(socket.state.eq(TCP_LISTEN), () => {
          found.set(whatListens($, socket, stack));
        });
      });
      return found;
    });
  const known = finders.get(stack) ?? {
    4: find('find_listener4', Tuple4, TUPLE_SIZE[4]),
    6: find('find_listener6', Tuple6, TUPLE_SIZE[6]),
  };
  finders.set(stack, known);
  return known[family];
}

/** The remembered properties of a listener. */
function whatListens<R>($: Builder<R>, socket: Socket<R>, stack: Stack): Int<32> {
  const found = $.let($.u32(plainListener(stack)));
  if (stack.listener)
    socket.asTcp().match({
      some: (listener) => {
        found.set(lookAt($, listener, stack));
      },
    });
  return found.value;
}

/** Gives what was found of who listens, in bits of `Listener`, window and window scale; 0 where nobody does. `refresh` runs with the listener's socket whenever the tables are asked. */
export function listening<R>(
  $: Builder<R>,
  packet: Packet<R>,
  maps: ListenerMaps & HostMaps & KeyMaps,
  { destination, tcp }: Segment,
  { stack, knowsHost = false }: Pick<Challenger, 'stack' | 'knowsHost'>,
  now: Int<64>,
  refresh?: (socket: Socket<R>) => void,
): Int<32> {
  const found = $.let($.u32(0));
  const port = tcp.dest.raw().u64();
  const words = destination.words();
  const hash = keyedHash($, maps, destination.family, [...words.slice(0, -1), words.at(-1)!.xor(port.shl(40))]);
  $.lookup(maps.listeners, hash.u32().and(LISTENERS - 1)).match({
    some: (place) => {
      const word = place.value;
      const units = now.shr(UNIT_SHIFT).u32().and(UNTIL_MASK);
      const left = word.shr(UNTIL_SHIFT).u32().sub(units).and(UNTIL_MASK);
      $.if(
        word.shr(TAG_SHIFT).eq(hash.shr(TAG_SHIFT)).and(left.le(LIFETIME)),
        () => {
          found.set(word.u32().and(FOUND_MASK));
        },
        () => {
          const ask = (): void => {
            // No source: only a listener fits.
            const nobody = Address.unspecified($, destination.family);
            const [tuple, size] = socketTuple($, nobody, destination, tcp.dest.raw().u32().shl(16));
            if (refresh)
              packet.tcpSocket(tuple, size, (socket) => {
                $.if(socket.state.eq(TCP_LISTEN), () => {
                  found.set(whatListens($, socket, stack));
                  refresh(socket);
                });
              });
            else found.set($.invoke(finderFor(stack, destination.family), packet, tuple).and(FOUND_MASK));
          };
          // Who listens on every address does so on this host's only.
          if (knowsHost) $.if(isLocal($, maps, destination).ne(0), ask);
          else ask();
          const until = units.add(LIFETIME).and(UNTIL_MASK).u64().shl(UNTIL_SHIFT);
          place.set({ value: hash.shr(TAG_SHIFT).shl(TAG_SHIFT).or(until).or(found.u64()) });
        },
      );
    },
  });
  return found.value;
}
