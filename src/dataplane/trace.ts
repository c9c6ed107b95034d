import { bytes, type ProgramSpec, ringBuffer, struct, u32, u64, XDP, xdp } from '../ebpf/language.ts';
import { ETH_P, Eth, IPPROTO, Ipv4, Ipv6, Tcp, TCP_FLAG } from '../net/headers.ts';

/** How much of a frame is copied: enough for every header there can be. */
export const SNAP_LENGTH = 256;

const Snapshot = struct('snapshot', { bytes: bytes(SNAP_LENGTH) });
/** A frame as it came in: when (CLOCK_MONOTONIC), how long it was, and its first bytes. */
export const TraceRecord = struct('trace_record', { time: u64, length: u32, captured: u32, frame: Snapshot });

export const traceRing = ringBuffer('segments', { size: 1 << 22 });

/** Copies TCP segments, or only SYNs, to user space, and passes everything. VLANs and IPv6 extension headers are not read. */
export function traceProgram({ synOnly }: { readonly synOnly: boolean }): ProgramSpec {
  return xdp('seawall_trace', ($, packet) => {
    const length = packet.remaining();
    const eth = packet.take(Eth).orExit(XDP.PASS);
    $.if(
      eth.proto.eq(ETH_P.IP),
      () => {
        const ip = packet.take(Ipv4).orExit(XDP.PASS);
        $.if(ip.protocol.ne(IPPROTO.TCP), () => XDP.PASS);
        packet.skip(ip.versionIhl.and(0x0f).shl(2).sub(Ipv4.size), { max: 40 }).orExit(XDP.PASS);
      },
      () => {
        $.if(eth.proto.ne(ETH_P.IPV6), () => XDP.PASS);
        const ip = packet.take(Ipv6).orExit(XDP.PASS);
        $.if(ip.nextHeader.ne(IPPROTO.TCP), () => XDP.PASS);
      },
    );
    const tcp = packet.take(Tcp).orExit(XDP.PASS);
    if (synOnly) $.if(tcp.flags.and(TCP_FLAG.SYN).eq(0), () => XDP.PASS);

    const captured = $.let(length);
    $.if(captured.gt(SNAP_LENGTH), () => {
      captured.set(SNAP_LENGTH);
    });
    // The verifier wants to see that something is copied.
    $.if(captured.lt(Eth.size), () => XDP.PASS);
    $.record(traceRing, TraceRecord, (record) => {
      record.set({ time: $.ktimeGetNs(), length: length.u32(), captured: captured.u32() });
      $.call('xdp_load_bytes', packet, 0, record.frame, captured);
    });
    return XDP.PASS;
  });
}
