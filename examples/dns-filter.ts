/** Drops DNS queries for listed names: `node dns-filter.js eth0 bad.example worse.example`. */
import { array, be16, bytes, hashMap, type Infer, Program, struct, u64, u8, XDP, XdpLink, xdp } from 'seawall/ebpf';
import { Eth, IPV4, Ipv4, UDP, Udp } from './headers.js';
import { untilInterrupted } from './until-interrupted.js';

const Dns = struct('dns', { id: be16, flags: be16, questions: be16, rest: bytes(6) });
const Byte = struct('byte', { value: u8 });

/** A name as it is in a query (RFC 1035, section 3.1): each label behind its length. In lower case, zeros behind it. */
const NAME_BYTES = 64;
const Name = struct('name', { octets: array(u8, NAME_BYTES) });

function wireName(text: string): Infer<typeof Name> {
  const labels = text.toLowerCase().split('.');
  const octets = labels.flatMap((label) => [label.length, ...Buffer.from(label, 'latin1')]);
  if (octets.length >= NAME_BYTES) throw new RangeError(`${text} is longer than this filter reads`);
  return { octets: [...octets, ...Array<number>(NAME_BYTES - octets.length).fill(0)] };
}

const blocked = hashMap('blocked', { key: Name, value: u64, maxEntries: 1024 });

const dnsFilter = xdp('dns_filter', ($, packet) => {
  const eth = packet.take(Eth).orExit(XDP.PASS);
  $.if(eth.proto.ne(IPV4), () => XDP.PASS);
  const ip = packet.take(Ipv4).orExit(XDP.PASS);
  $.if(ip.protocol.ne(UDP), () => XDP.PASS);
  packet.skip(ip.versionIhl.and(0x0f).shl(2).sub(Ipv4.size), { max: 40 }).orExit(XDP.PASS);
  const udp = packet.take(Udp).orExit(XDP.PASS);
  $.if(udp.destination.ne(53), () => XDP.PASS);
  const dns = packet.take(Dns).orExit(XDP.PASS);
  $.if(dns.questions.eq(0), () => XDP.PASS);

  // The loop has an end that the verifier sees. A longer name keeps no zero at its end and so equals no listed one.
  const name = $.stack(Name);
  $.loop(NAME_BYTES, (at, loop) => {
    const { value: octet } = packet.take(Byte).orExit(XDP.PASS);
    loop.breakIf(octet.eq(0));
    // Lengths are below 64 and stay as they are.
    const isUpper = octet.ge(0x41).and(octet.le(0x5a));
    name.octets.ref(at).set($.select(isUpper, octet.or(0x20), octet));
  });
  const entry = $.lookup(blocked, name).orExit(XDP.PASS);
  entry.ref('value').atomicAdd(1);
  return XDP.DROP;
});

const [, , interfaceName = 'eth0', ...names] = process.argv;
using program = Program.load(dnsFilter);
const counts = program.map(blocked);
for (const name of names) counts.update(wireName(name), 0n);
using link = XdpLink.attach(program, interfaceName);
console.log(`filtering in ${link.mode ?? 'unknown'} mode`);
await untilInterrupted();
for (const name of names) console.log(`${name}: ${String(counts.lookup(wireName(name)))} queries dropped`);
