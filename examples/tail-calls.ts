/** One program for each IP protocol, by tail calls: `node tail-calls.js eth0 drop-icmp`. */
import { perCpuArray, Program, programArray, u64, XDP, XdpLink, xdp, type XdpVerdict } from 'seawall/ebpf';
import { Eth, ICMP, IPV4, Ipv4, TCP, UDP } from './headers.js';
import { untilInterrupted } from './until-interrupted.js';

/** The program of each IP protocol. User space fills it, while packets run too; a number without a program falls through. */
const protocols = programArray('protocols', { maxEntries: 256 });
/** Packets of each IP protocol, counted by the programs that are called. */
const packets = perCpuArray('packets', { value: u64, maxEntries: 256 });

const dispatcher = xdp('dispatcher', ($, packet) => {
  const eth = packet.take(Eth).orExit(XDP.PASS);
  $.if(eth.proto.ne(IPV4), () => XDP.PASS);
  const ip = packet.take(Ipv4).orExit(XDP.PASS);
  $.tailCall(protocols, packet, ip.protocol.u32());
  return XDP.PASS; // no program for this protocol
});

/** A function of TypeScript that writes programs. */
const counting = (name: string, protocol: number, verdict: XdpVerdict) =>
  xdp(name, ($) => {
    const count = $.lookup(packets, protocol).orExit(verdict);
    count.ref('value').add(1);
    return verdict;
  });

const [, , interfaceName = 'eth0', option] = process.argv;
using main = Program.load(dispatcher);
using tcp = Program.load(counting('count_tcp', TCP, XDP.PASS));
// Maps are found by name: this program shares the counters of the first.
using udp = Program.load(counting('count_udp', UDP, XDP.PASS), { maps: [tcp.map(packets)] });
using icmp = Program.load(counting('count_icmp', ICMP, option === 'drop-icmp' ? XDP.DROP : XDP.PASS), {
  maps: [tcp.map(packets)],
});
const table = main.map(protocols);
table.update(TCP, tcp);
table.update(UDP, udp);
table.update(ICMP, icmp);

using link = XdpLink.attach(main, interfaceName);
console.log(`dispatching in ${link.mode ?? 'unknown'} mode`);
await untilInterrupted();
for (const [name, protocol] of Object.entries({ TCP, UDP, ICMP })) {
  const total = tcp
    .map(packets)
    .lookup(protocol)!
    .reduce((sum, count) => sum + count, 0n);
  console.log(`${name}: ${String(total)} packets`);
}
