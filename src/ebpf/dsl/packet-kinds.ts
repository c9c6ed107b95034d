/** The packets of the two kinds of program: each has what the kernel gives its kind, and nothing else. */
import { DslError } from '../errors.ts';
import { CallSite } from '../source-location.ts';
import type { TcVerdict, XdpVerdict } from './action.ts';
import type { ContextLayout } from './emitter.ts';
import type { Int } from './int.ts';
import type { Maybe } from './maybe.ts';
import { Packet } from './packet.ts';

/** `struct xdp_md` (linux/bpf.h). */
export const XDP_CONTEXT: ContextLayout = { type: 'xdp_md', data: 0, dataEnd: 4, ingressIfindex: 12 };
/** Offset of `rx_queue_index` in it. */
const RX_QUEUE = 16;

/** `struct __sk_buff` (linux/bpf.h). */
export const SKB_CONTEXT: ContextLayout = { type: '__sk_buff', data: 76, dataEnd: 80, ingressIfindex: 36 };
/** Offset of `len` in it. */
const LENGTH = 0;

/** The frame of an XDP program, as the driver received it. */
export class XdpPacket<R = XdpVerdict> extends Packet<R> {
  /** Number of the queue that the frame came in by. */
  receiveQueue(): Int<32> {
    return this.metadata(RX_QUEUE, 'rx_queue_index');
  }

  /** Moves the start of the frame: negative makes room in front. Every view is void afterwards and the cursor at the start. */
  adjustHead(delta: Int<32> | number): Maybe<void, R> {
    return this.resize('xdp_adjust_head', delta, 'adjustHead');
  }

  /** Moves the end of the frame: negative cuts. Every view is void afterwards and the cursor at the start. */
  adjustTail(delta: Int<32> | number): Maybe<void, R> {
    return this.resize('xdp_adjust_tail', delta, 'adjustTail');
  }
}

/** The packet of a traffic-control program: a buffer of the kernel, of which the first part can be read. */
export class TcPacket<R = TcVerdict> extends Packet<R> {
  /** Bytes of the whole packet, with those in fragments of the buffer. */
  totalLength(): Int<32> {
    return this.metadata(LENGTH, 'len');
  }

  /**
   * Makes the first `bytes` of the packet readable where they lie in fragments of the buffer. Every view is void afterwards and the
   * cursor at the start.
   */
  pull(bytes: Int<32> | number): Maybe<void, R> {
    return this.resize('skb_pull_data', bytes, 'pull');
  }
}

/** Gives callers without types the reason, at their line, where they use what only the other kind of packet has. */
function refuseMethodsOf(other: object, on: object, reason: string): void {
  for (const name of Object.getOwnPropertyNames(other)) {
    if (name in on) continue;
    Object.defineProperty(on, name, {
      value: () => {
        throw new DslError(`call packet.${name}: ${reason}`, new CallSite().location);
      },
    });
  }
}

const [xdpMethods, tcMethods] = [XdpPacket.prototype, TcPacket.prototype];
refuseMethodsOf(
  tcMethods,
  xdpMethods,
  'only the packet of a traffic-control program has it, and this is an XDP program',
);
refuseMethodsOf(xdpMethods, tcMethods, 'only the packet of an XDP program has it, and this is one of traffic control');
