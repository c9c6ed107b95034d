/**
 * The other half of the form `assign`, in traffic control: takes the ACK that brings a cookie back and makes a connection of it. It
 * returns at once unless a challenge was sent lately.
 */
import {
  type Builder,
  bytes,
  enumOf,
  type Int,
  type ProgramSpec,
  type Socket,
  struct,
  tc,
  TC,
  TCP_LISTEN,
  type TcAction,
  type TcPacket,
  u16,
  u32,
  u8,
  type View,
} from '../ebpf/language.ts';
import { TCP_FLAG } from '../net/headers.ts';
import type { Policy } from '../policy/policy.ts';
import type { Stack } from './cookie/challenger.ts';
import type { Clock } from './state/clock.ts';
import { redeem, type Redeemed } from './cookie/cookie.ts';
import { byFamily, type LinkKind, parseLink } from './frame/link.ts';
import { parseSegment, portsWord, type Segment } from './frame/parse.ts';
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
  maps: AcceptMaps,
  clock: Clock,
  { stack, link }: { readonly stack: Stack; readonly link: LinkKind },
): ProgramSpec {
  return tc('seawall_accept', ($, packet) => {
    const leave = (): TcAction => TC.UNSPEC;
    const now = clock.coarse($);
    $.if($.at(maps.activity, 0).challengedUntil.le(now), leave);
    pullHeaders($, packet);
    const below = parseLink($, packet, leave, link);
    return byFamily($, below, leave, (family) => {
      const rules = { fragments: { first: 'drop', later: 'drop' }, lengths: 'trust' } as const;
      const segment = parseSegment($, packet, family, below, leave, rules);
      const { tcp, source, destination } = segment;
      $.if(tcp.flags.and(TCP_FLAG.ACK | TCP_FLAG.SYN | TCP_FLAG.RST).ne(TCP_FLAG.ACK), leave);
      const options = parseSynOptions($, packet, segment, leave);
      const stamps: Stamps = {
        timestamps: $.let(options.present.and(stack.timestamps ? Present.TIMESTAMPS : 0)),
        echo: $.let(swapped(options.echo)),
        tsval: $.let(swapped(options.timestamp)),
      };
      const [tuple, tupleSize] = socketTuple($, source, destination, portsWord(tcp));
      const outcome = $.let(Outcome.NOTHING);
      const room = $.let($.u32(0));
      packet.tcpSocket(tuple, tupleSize, (socket) => {
        const ended = accept($, packet, socket, segment, stamps, { maps, stack, now });
        outcome.set(ended.outcome);
        room.set(ended.room);
      });
      $.if(outcome.eq(Outcome.FULL), () => {
        // The kernel would drop it, too (`sk_acceptq_is_full`, include/net/sock.h), and the client sends again.
        count($, maps, $.u32(flags.reasons['accept-queue'].number));
        return TC.SHOT;
      });
      $.if(outcome.eq(Outcome.ACCEPTED), () => {
        markRedeemed($, maps, segment, room, now);
        remember($, maps, source, policy.remember, now);
      });
      return TC.UNSPEC;
    });
  });
}

type Tc = Builder<TcAction>;
type AcceptMaps = VerifiedMaps & RedeemedMaps & CounterMaps;

/** What became of a segment that belongs to a socket. */
const Outcome = enumOf('accept_outcome', { NOTHING: 0, ACCEPTED: 1, FULL: 2 });

/** The timestamps of an ACK in host order. `timestamps` is 0 where it has none. */
interface Stamps {
  readonly timestamps: Int<32>;
  readonly echo: Int<32>;
  readonly tsval: Int<32>;
}

interface Surroundings {
  readonly maps: AcceptMaps;
  readonly stack: Stack;
  readonly now: Int<64>;
}

/** A buffer may lie in pieces, of which the first is to hold the headers. */
function pullHeaders($: Tc, packet: TcPacket): void {
  const wanted = $.let(packet.totalLength());
  $.if(wanted.gt(LINEAR), () => {
    wanted.set(LINEAR);
  });
  $.if(packet.remaining().lt(wanted.u64()), () => {
    packet.pull(wanted).orExit(TC.UNSPEC);
  });
  packet.restart();
}

/** Makes a connection where the socket listens and the segment brings a cookie. `room` is not 0 where its accept queue is far from full. */
function accept(
  $: Tc,
  packet: TcPacket,
  socket: Socket<TcAction>,
  segment: Segment,
  stamps: Stamps,
  { maps, stack, now }: Surroundings,
) {
  return $.inline({ outcome: Outcome, room: 32 }, (out) => {
    const nothing = () => ({ outcome: Outcome.NOTHING, room: 0 });
    out.if(socket.state.ne(TCP_LISTEN), nothing);
    const redeemed = redeem($, maps, segment, { ...stamps, host: stack.windowScale }, now);
    out.if(redeemed.valid.eq(0), nothing);
    // What comes close behind the ACK belongs to the connection that is about to be there.
    out.if(wasRedeemed($, maps, segment, now).ne(0), nothing);
    const listener = socket.asTcp().orExit(() => out.leave(nothing()));
    const room = $.let($.u32(0));
    if (stack.acceptQueue) {
      const { length, limit } = stack.acceptQueue;
      const [queued, most] = [listener.u32(length), listener.u32(limit)];
      out.if(queued.gt(most), () => ({ outcome: Outcome.FULL, room: 0 }));
      $.if(queued.add(BATCH_PACKETS).lt(most), () => {
        room.set(1);
      });
    }
    const attributes = requestAttributes($, redeemed, stamps);
    const failure = $.callKernel('bpf_sk_assign_tcp_reqsk', packet, listener, attributes, RequestAttributes.size);
    out.if(failure.ne(0), nothing);
    return { outcome: Outcome.ACCEPTED, room };
  });
}

/** What the kernel is told of a connection: what its client said in the SYN. */
function requestAttributes(
  $: Tc,
  { mss, ecn, sack, windowScale: theirs, ours }: Redeemed,
  { timestamps, tsval, echo }: Stamps,
): View<(typeof RequestAttributes)['fields']> {
  const attributes = $.stack(RequestAttributes);
  attributes.set({ mss: mss.u16(), ecn: ecn.u8(), sack: sack.u8() });
  $.if(theirs.ne(NO_SCALE), () => {
    attributes.set({ windowScale: 1, ourWindowScale: ours.u8(), theirWindowScale: theirs.u8() });
  });
  $.if(timestamps.ne(0), () => {
    attributes.set({ timestamps: 1, tsval, tsecr: echo });
  });
  return attributes;
}

/** A number that lies in memory in network order, in host order. */
const swapped = (word: Int<32>): Int<32> => word.toNetwork().raw();
