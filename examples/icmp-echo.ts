/** Answers pings in the driver, before the kernel sees them: `node icmp-echo.js eth0`. */
import { arrayMap, Program, u64, XDP, XdpLink, xdp } from 'seawall/ebpf';
import { Eth, ICMP, Icmp, IPV4, Ipv4 } from './headers.js';
import { untilInterrupted } from './until-interrupted.js';

const ECHO_REQUEST = 8;
const answered = arrayMap('answered', { value: u64, maxEntries: 1 });

const icmpEcho = xdp('icmp_echo', ($, packet) => {
  const eth = packet.take(Eth).orExit(XDP.PASS);
  $.if(eth.proto.ne(IPV4), () => XDP.PASS);
  const ip = packet.take(Ipv4).orExit(XDP.PASS);
  // Options would have to be turned round as well, and fragments put together: both are left to the kernel.
  $.if(ip.versionIhl.ne(0x45).or(ip.fragment.and(0x3fff).ne(0)), () => XDP.PASS);
  $.if(ip.protocol.ne(ICMP), () => XDP.PASS);
  const icmp = packet.take(Icmp).orExit(XDP.PASS);
  $.if(icmp.type.ne(ECHO_REQUEST), () => XDP.PASS);

  // A field is read where it is named, so both are read before one is written.
  eth.set({ dst: eth.src, src: eth.dst });
  ip.set({ source: ip.destination, destination: ip.source }); // the checksum of swapped words stays right
  // The first word goes from 0x0800 to 0: the checksum grows by as much, in ones' complement (RFC 1624).
  const sum = icmp.checksum
    .host()
    .u32()
    .add(ECHO_REQUEST << 8);
  icmp.set({ type: 0, checksum: sum.add(sum.shr(16)).u16().toNetwork() });

  $.at(answered, 0).ref('value').atomicAdd(1);
  return XDP.TX;
});

using program = Program.load(icmpEcho);
using link = XdpLink.attach(program, process.argv[2] ?? 'eth0');
console.log(`answering in ${link.mode ?? 'unknown'} mode`);
await untilInterrupted();
console.log(`${String(program.map(answered).lookup(0))} pings answered`);
