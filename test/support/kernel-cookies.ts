import { arrayMap, Program, u64, XDP, xdp, type XdpBuilder, type XdpPacket } from '../../src/ebpf/index.ts';
import { type Layer, ethernet, frame } from '../../src/net/build.ts';
import { Eth, Ipv4, Ipv6, Tcp } from '../../src/net/headers.ts';
import { struct, bytes } from '../../src/ebpf/language.ts';

const answer = arrayMap('answer', { value: u64, maxEntries: 1 });
/** A TCP header with an MSS option alone. */
const Syn = struct('syn', { header: bytes(Tcp.size), mss: bytes(4) });

/** Gives the helper the headers of the frame as they are. */
const ask = (family: 4 | 6) =>
  xdp(`cookie_of_ipv${String(family)}`, ($: XdpBuilder, packet: XdpPacket) => {
    packet.take(Eth).orExit(XDP.PASS);
    const ip = family === 4 ? packet.take(Ipv4).orExit(XDP.PASS) : packet.take(Ipv6).orExit(XDP.PASS);
    const tcp = packet.take(Syn).orExit(XDP.PASS);
    const cookie =
      family === 4
        ? $.call('tcp_raw_gen_syncookie_ipv4', ip, tcp, Syn.size)
        : $.call('tcp_raw_gen_syncookie_ipv6', ip, tcp, Syn.size);
    $.at(answer, 0).set({ value: cookie });
    return XDP.PASS;
  });

/** The kernel's own SYN cookies, whose secrets it keeps: asked for by a program that does nothing else. */
export class KernelCookies implements Disposable {
  readonly #programs = { 4: Program.load(ask(4)), 6: Program.load(ask(6)) };
  #last: { readonly packet: Buffer; readonly cookie: number } | undefined;

  /** The cookie for a packet of IP and TCP header. */
  readonly cookie = (packet: Buffer): number => {
    const program = this.#programs[packet[0]! >> 4 === 4 ? 4 : 6];
    const bytes: Layer = { type: 0, encode: () => packet };
    program.testRun({ data: frame([ethernet(), bytes]) });
    const given = program.map(answer).lookup(0)!;
    if (given >> 63n !== 0n) throw new Error('the kernel gives no cookie for this packet');
    const cookie = Number(given & 0xffff_ffffn); // the MSS of its class is above it
    this.#last = { packet, cookie };
    return cookie;
  };

  /** Whether the kernel would now give another cookie than it did last: once a minute it does. */
  get changed(): boolean {
    const before = this.#last;
    return before !== undefined && this.cookie(before.packet) !== before.cookie;
  }

  [Symbol.dispose](): void {
    for (const program of Object.values(this.#programs)) program[Symbol.dispose]();
  }
}
