/** Counts SYNs by destination port: `node dist/examples/count-ports.js eth0`. Without an interface it tries itself on two frames. */
import { be16, bytes, hashMap, Program, struct, u16, u64, u8, UpdateFlag, XDP, XdpLink, xdp } from 'seawall/ebpf';

// Headers: one definition for the kernel and for user space. `be16` is a number in network order.
const Eth = struct('eth', { dst: bytes(6), src: bytes(6), proto: be16 });
const Ipv4 = struct('ipv4', {
  versionIhl: u8,
  tos: u8,
  length: be16,
  id: be16,
  fragment: be16,
  ttl: u8,
  protocol: u8,
  checksum: be16,
  addresses: bytes(8),
});
const Tcp = struct('tcp', { source: be16, dest: be16, seqAck: bytes(8), dataOffset: u8, flags: u8, window: be16 });

const SYN = 0x02;
const ACK = 0x10;

// A map is plain data here; it comes to life when the program is loaded.
const ports = hashMap('ports', { key: u16, value: u64, maxEntries: 65_536 });

const countPorts = xdp('count_ports', ($, packet) => {
  const eth = packet.take(Eth).orExit(XDP.PASS); // too short: let it pass
  $.if(eth.proto.ne(0x0800), () => XDP.PASS); // not IPv4
  const ip = packet.take(Ipv4).orExit(XDP.PASS);
  $.if(ip.protocol.ne(6), () => XDP.PASS); // not TCP
  packet.skip(ip.versionIhl.and(0x0f).shl(2).sub(Ipv4.size), { max: 40 }).orExit(XDP.PASS); // IPv4 options
  const tcp = packet.take(Tcp).orExit(XDP.PASS);
  $.if(tcp.flags.and(SYN | ACK).ne(SYN), () => XDP.PASS); // opens nothing

  const port = tcp.dest.host();
  $.lookup(ports, port).match({
    some: (count) => count.ref('value').atomicAdd(1),
    none: () => {
      $.update(ports, port, 1, UpdateFlag.NOEXIST);
    },
  });
  return XDP.PASS;
});

using program = Program.load(countPorts);
const [interfaceName] = process.argv.slice(2);

if (interfaceName === undefined) {
  const syn = Buffer.alloc(64);
  syn.writeUInt16BE(0x0800, 12); // IPv4
  syn.writeUInt8(0x45, 14); //      five words of header
  syn.writeUInt8(6, 23); //         TCP
  syn.writeUInt16BE(443, 36); //    destination port
  syn.writeUInt8(SYN, 47);
  program.testRun({ data: syn, repeat: 3 });
  syn.writeUInt8(ACK, 47);
  program.testRun({ data: syn });
} else {
  using link = XdpLink.attach(program, interfaceName);
  console.log(`counting on ${interfaceName} in ${link.mode ?? 'unknown'} mode for ten seconds`);
  await new Promise((resolve) => setTimeout(resolve, 10_000));
}

for (const [port, count] of program.map(ports).entries()) console.log(`port ${String(port)}: ${String(count)} SYNs`);
