/**
 * The other half of the forms that answer with cookies, in traffic control. It takes the ACK that brings a cookie of ours back and makes a connection of it,
 * and ends a connection in TIME-WAIT that has the ports of the new one. It returns at once unless a challenge was sent lately.
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
  TCP_TIME_WAIT,
  type TcAction,
  type TcPacket,
  u16,
  u32,
  u8,
  type View,
} from '../ebpf/language.ts';
import { Tcp, TCP_FLAG } from '../net/headers.ts';
import type { Policy } from '../policy/policy.ts';
import { isKernelProof } from './cookie/challenge.ts';
import type { Form, Stack } from './cookie/challenger.ts';
import type { Clock } from './state/clock.ts';
import { redeem, type Redeemed } from './cookie/cookie.ts';
import type { Address } from './frame/address.ts';
import { byFamily, type LinkKind, parseLink } from './frame/link.ts';
import { parseSegment, portsWord, type Segment } from './frame/parse.ts';
import { socketTuple } from './frame/socket-tuple.ts';
import { parseSynOptions, Present } from './frame/syn-options.ts';
import { type CounterMaps, count } from './outcome/exits.ts';
import { flags } from './stages/flags.ts';
import { servedBy, type ServedMaps } from './stages/service.ts';
import { verified } from './stages/verified.ts';
import { hasReopened, markRedeemed, markReopened, type RedeemedMaps, wasRedeemed } from './state/redeemed.ts';
import { batchOf, overService, Purse, type ServiceStateMaps } from './state/service-limit.ts';
import type { ServiceValues } from './state/service-policy.ts';
import { raiseLevel, verifiedCharge } from './state/verified-level.ts';
import { rememberAndCharge, type VerifiedMaps } from './state/verified-sources.ts';

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

/** Whether there is something to do for this half: in the form `kernel` only where the kernel's sockets in TIME-WAIT can be read. */
export const hasAcceptProgram = (forms: readonly Form[], { timeWaitNext }: Stack): boolean =>
  forms.includes('assign') || (forms.includes('kernel') && timeWaitNext !== undefined);

/** The program that accepts answers to challenges. The form `assign` needs `bpf_sk_assign_tcp_reqsk`, Linux 6.9. */
export function acceptProgram(
  policy: AcceptPolicy,
  maps: AcceptMaps,
  clock: Clock,
  { stack, link, forms }: { readonly stack: Stack; readonly link: LinkKind; readonly forms: readonly Form[] },
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
      const end = packet.position();
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
      const next = $.let($.u32(0));
      packet.tcpSocket(tuple, tupleSize, (socket) => {
        const ended = accept($, packet, socket, segment, stamps, { policy, maps, forms, stack, now });
        outcome.set(ended.outcome);
        room.set(ended.room);
        next.set(ended.next);
      });
      $.if(outcome.eq(Outcome.FULL), () => {
        // The kernel would drop it, too (`sk_acceptq_is_full`, include/net/sock.h), and the client sends again.
        count($, maps, $.u32(flags.reasons['accept-queue'].number));
        return TC.SHOT;
      });
      $.if(outcome.eq(Outcome.OVER), () => {
        count($, maps, $.u32(verified.reasons['over-redeemed'].number));
        return TC.SHOT;
      });
      $.if(outcome.eq(Outcome.ACCEPTED), () => {
        markRedeemed($, maps, segment, room, now);
      });
      $.if(outcome.eq(Outcome.REOPEN), () => {
        markReopened($, maps, segment, now);
        reopen($, packet, segment, end.sub(Tcp.size), next);
      });
      return TC.UNSPEC;
    });
  });
}

type Tc = Builder<TcAction>;
type AcceptPolicy = Pick<Policy, 'remember' | 'services'>;
type AcceptMaps = VerifiedMaps & RedeemedMaps & CounterMaps & ServedMaps & ServiceStateMaps;

/** What became of a segment that belongs to a socket. */
const Outcome = enumOf('accept_outcome', { NOTHING: 0, ACCEPTED: 1, FULL: 2, REOPEN: 3, OVER: 4 });

/** The timestamps of an ACK in host order. `timestamps` is 0 where it has none. */
interface Stamps {
  readonly timestamps: Int<32>;
  readonly echo: Int<32>;
  readonly tsval: Int<32>;
}

interface Surroundings {
  readonly policy: AcceptPolicy;
  readonly maps: AcceptMaps;
  readonly forms: readonly Form[];
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

/**
 * Makes a connection where the socket listens and the segment brings a cookie. `room` is not 0 where its accept queue is far from full. A connection of
 * the same ports that is in TIME-WAIT is to make way (`REOPEN`): `next` is the sequence number that it expects, in host order.
 */
function accept(
  $: Tc,
  packet: TcPacket,
  socket: Socket<TcAction>,
  segment: Segment,
  stamps: Stamps,
  { policy, maps, forms, stack, now }: Surroundings,
) {
  return $.inline({ outcome: Outcome, room: 32, next: 32 }, (out) => {
    const nothing = () => ({ outcome: Outcome.NOTHING, room: 0, next: 0 });
    const state = $.let(socket.state);
    const wanted = forms.includes('assign') ? [TCP_LISTEN] : [];
    if (stack.timeWaitNext !== undefined) wanted.push(TCP_TIME_WAIT);
    out.if(state.oneOf(wanted).not(), nothing);
    const redeemed = forms.includes('assign')
      ? redeem($, maps, segment, { ...stamps, host: stack.windowScale }, now)
      : undefined;
    const valid = $.let(redeemed?.valid ?? $.u32(0));
    if (forms.includes('kernel')) {
      $.if(state.eq(TCP_TIME_WAIT), () => {
        valid.set(valid.or(isKernelProof($, segment)));
      });
    }
    out.if(valid.eq(0), nothing);
    // Segments close behind the ACK belong to the connection that is about to exist.
    out.if(wasRedeemed($, maps, segment, now).ne(0), nothing);
    if (stack.timeWaitNext !== undefined) {
      const offset = stack.timeWaitNext;
      out.if(state.eq(TCP_TIME_WAIT), () => {
        out.if(segment.tcp.flags.hasAny(TCP_FLAG.FIN).or(hasReopened($, maps, segment, now).ne(0)), nothing);
        const left = socket.asTimeWait().orExit(() => out.leave(nothing()));
        return { outcome: Outcome.REOPEN, room: 0, next: left.u32(offset) };
      });
    }
    if (!redeemed) return nothing();
    const listener = socket.asTcp().orExit(() => out.leave(nothing()));
    const room = $.let($.u32(0).forget());
    if (stack.acceptQueue) {
      const { length, limit } = stack.acceptQueue;
      const [queued, most] = [listener.u32(length), listener.u32(limit)];
      out.if(queued.gt(most), () => ({ outcome: Outcome.FULL, room: 0, next: 0 }));
      $.if(queued.add(BATCH_PACKETS).lt(most), () => {
        room.set($.u32(1).forget());
      });
    }
    // A listener that no service protects any more sent its cookies before a change of the policy.
    const served = servedBy($, policy, maps, segment, () => out.leave(nothing()));
    out.if(overRedeemed($, maps, segment.source, policy, served, now).ne(0), () => ({
      outcome: Outcome.OVER,
      room: 0,
      next: 0,
    }));
    const attributes = requestAttributes($, redeemed, stamps);
    const failure = $.callKernel('bpf_sk_assign_tcp_reqsk', packet, listener, attributes, RequestAttributes.size);
    out.if(failure.ne(0), nothing);
    return { outcome: Outcome.ACCEPTED, room, next: 0 };
  });
}

const Sequence = struct('tcp_sequence', { number: u32 });
const LengthAndFlags = struct('tcp_length_flags', { word: u16 });
/** The length and the flags of a RST of twenty bytes, as they lie in memory. */
const RST = ((Tcp.size / 4) << 4) | (TCP_FLAG.RST << 8);
const BPF_F_INGRESS = 1;

/**
 * Ends the TIME-WAIT of the connection before. Linux lets a new SYN take its place, but this SYN never came to it: the ACK goes on as the RST that
 * ends it (RFC 1337), and a copy of the ACK comes in behind it, to the listener. `at` is where the TCP header begins in the frame.
 */
function reopen($: Tc, packet: TcPacket, { tcp }: Segment, at: Int<32>, next: Int<32>): void {
  const [sequence, lengthAndFlags] = [$.stack(Sequence), $.stack(LengthAndFlags)];
  sequence.set({ number: swapped(next) });
  lengthAndFlags.set({ word: RST });
  const before = { number: $.let(tcp.seq.raw()), word: $.let(tcp.dataOffset.u16().or(tcp.flags.u16().shl(8))) };
  $.call('clone_redirect', packet, packet.ingressInterface(), BPF_F_INGRESS);
  const checksum = at.add(Tcp.offsets.checksum);
  $.call('l4_csum_replace', packet, checksum, before.number.u64(), sequence.number.u64(), Sequence.size);
  $.call('l4_csum_replace', packet, checksum, before.word.u64(), RST, LengthAndFlags.size);
  $.call('skb_store_bytes', packet, at.add(Tcp.offsets.seq), sequence, Sequence.size, 0);
  $.call('skb_store_bytes', packet, at.add(Tcp.offsets.dataOffset), lengthAndFlags, LengthAndFlags.size, 0);
}

/** A redeemed cookie is paid for like a SYN: by its source, which is verified from now on, and by the service. Gives 1 where the source cannot. */
function overRedeemed(
  $: Tc,
  maps: AcceptMaps,
  source: Address,
  policy: AcceptPolicy,
  served: ServiceValues,
  now: Int<64>,
): Int<32> {
  const { service, index, verified: bucket } = served;
  const charge = verifiedCharge($, maps, policy, served, now);
  const over = rememberAndCharge($, maps, source, policy, now, charge);
  $.if(service.price.ne(0).and(over.eq(0)), () => {
    overService($, maps, index, $.u32(Purse.VERIFIED), service, batchOf(policy), now, (state) => {
      raiseLevel($, state, bucket, now);
    });
  });
  return over;
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
