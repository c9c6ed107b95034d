/**
 * The other half of the form `assign`, in traffic control: takes the ACK that brings a cookie back and makes a connection of it. It
 * returns at once unless a challenge was sent lately.
 */
import {
  type Int,
  type ProgramSpec,
  struct,
  tc,
  TC,
  TCP_LISTEN,
  u16,
  u32,
  u8,
  bytes,
  type TcAction,
} from '../ebpf/language.ts';
import { TCP_FLAG } from '../net/headers.ts';
import type { Policy } from '../policy/policy.ts';
import { ASSIGNED_WINDOW_SCALE, type Stack } from './cookie/challenger.ts';
import type { Clock } from './state/clock.ts';
import { redeem } from './cookie/cookie.ts';
import { byFamily, parseLink, parseSegment, portsWord } from './frame/parse.ts';
import { socketTuple } from './frame/socket-tuple.ts';
import { parseSynOptions, Present } from './frame/syn-options.ts';
import { type CounterMaps, count } from './outcome/exits.ts';
import { flags } from './stages/flags.ts';
import { markRedeemed, type RedeemedMaps, wasRedeemed } from './state/redeemed.ts';
import { remember, type VerifiedMaps } from './state/verified-sources.ts';

/** `struct bpf_tcp_req_attrs` (include/net/tcp.h, Linux 6.9). */
const RequestAttributes = struct('bpf_tcp_req_attrs', {
  tsval: u32,
  tsecr: u32,
  mss: u16,
  ourWindowScale: u8,
  theirWindowScale: u8,
  ecn: u8,
  windowScale: u8,
  sack: u8,
  timestamps: u8,
  microseconds: u8,
  reserved: bytes(3),
});

/** Headers lie in the first bytes; more than these a SYN's answer never has. */
const LINEAR = 256;
const NO_SCALE = 15;
/** Packets that a device hands over at once (NAPI_POLL_WEIGHT), each of which may fill a place of the accept queue that this one was to have. */
const BATCH_PACKETS = 64;

/** The program that accepts what was challenged. Needs `bpf_sk_assign_tcp_reqsk`, Linux 6.9. */
export function acceptProgram(
  policy: Pick<Policy, 'remember'>,
  maps: VerifiedMaps & RedeemedMaps & CounterMaps,
  clock: Clock,
  stack: Stack,
): ProgramSpec {
  return tc('seawall_accept', ($, packet) => {
    const leave = (): TcAction => TC.UNSPEC;
    const now = clock.coarse($);
    $.if($.at(maps.activity, 0).challengedUntil.le(now), leave);
    const total = packet.totalLength();
    const wanted = $.let(total);
    $.if(wanted.gt(LINEAR), () => {
      wanted.set(LINEAR);
    });
    $.if(packet.remaining().lt(wanted.u64()), () => {
      packet.pull(wanted).orExit(TC.UNSPEC);
    });
    packet.restart();
    const link = parseLink($, packet, leave);
    return byFamily($, link, leave, (family) => {
      const rules = { fragments: { first: 'drop', later: 'drop' }, lengths: 'trust' } as const;
      const segment = parseSegment($, packet, family, link.offset, leave, rules);
      const { tcp, source, destination } = segment;
      $.if(tcp.flags.and(TCP_FLAG.ACK | TCP_FLAG.SYN | TCP_FLAG.RST).ne(TCP_FLAG.ACK), leave);
      const options = parseSynOptions($, packet, segment, leave);
      const timestamps = $.let(options.present.and(stack.timestamps ? Present.TIMESTAMPS : 0));
      const echo = $.let(swapped(options.echo));
      const tsval = $.let(swapped(options.timestamp));
      const [tuple, tupleSize] = socketTuple($, source, destination, portsWord(tcp));
      const accepted = $.let($.u32(0));
      const full = $.let($.u32(0));
      const roomy = $.let($.u32(0));
      packet.tcpSocket(tuple, tupleSize, (socket) => {
        $.if(socket.state.eq(TCP_LISTEN), () => {
          const redeemed = redeem($, maps, segment, { timestamps, echo }, now);
          // What comes close behind the ACK belongs to the connection that is about to be there.
          $.if(redeemed.valid.ne(0).and(wasRedeemed($, maps, segment, now).eq(0)), () => {
            const attributes = $.stack(RequestAttributes);
            attributes.set({ mss: redeemed.mss.u16(), ecn: redeemed.ecn.u8(), sack: redeemed.sack.u8() });
            $.if(redeemed.windowScale.ne(NO_SCALE), () => {
              attributes.set({
                windowScale: 1,
                ourWindowScale: ASSIGNED_WINDOW_SCALE,
                theirWindowScale: redeemed.windowScale.u8(),
              });
            });
            $.if(timestamps.ne(0), () => {
              attributes.set({ timestamps: 1, tsval, tsecr: echo });
            });
            socket.asTcp().match({
              some: (listener) => {
                if (stack.acceptQueue) {
                  const { length, limit } = stack.acceptQueue;
                  const [queued, most] = [listener.u32(length), listener.u32(limit)];
                  $.if(queued.gt(most), () => {
                    full.set(1);
                  });
                  $.if(queued.add(BATCH_PACKETS).lt(most), () => {
                    roomy.set(1);
                  });
                }
                $.if(full.eq(0), () => {
                  const failure = $.callKernel(
                    'bpf_sk_assign_tcp_reqsk',
                    packet,
                    listener,
                    attributes,
                    RequestAttributes.size,
                  );
                  $.if(failure.eq(0), () => {
                    accepted.set(1);
                  });
                });
              },
            });
          });
        });
      });
      $.if(full.ne(0), () => {
        // The kernel would drop it, too (`sk_acceptq_is_full`, include/net/sock.h), and the client sends again.
        count($, maps, $.u32(flags.reasons['accept-queue'].number));
        return TC.SHOT;
      });
      $.if(accepted.ne(0), () => {
        markRedeemed($, maps, segment, roomy, now);
        remember($, maps, source, policy.remember, now);
      });
      return TC.UNSPEC;
    });
  });
}

/** A number that lies in memory in network order, in host order. */
const swapped = (word: Int<32>): Int<32> => word.toNetwork().raw();
