/**
 * A stateless load balancer with direct server return: `node load-balancer.js eth0 10.0.0.100 80 backends.txt`.
 *
 * Balancer and back ends share a network segment. The balancer gives the frame another destination and sends it back out; the
 * back end has the virtual address on its loopback interface and answers the client itself, so answers do not pass here.
 * The same five-tuple always goes to the same back end: no state. The file has a MAC address a line, and is read again at
 * SIGHUP; connections of the back ends that stay are not moved.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { arrayMap, bytes, perCpuArray, Program, struct, u64, XDP, XdpLink, xdp } from 'seawall/ebpf';
import { Eth, IPV4, Ipv4, ipv4, Ports, TCP } from './headers.js';
import { untilInterrupted } from './until-interrupted.js';

const [, , interfaceName = 'eth0', virtualAddress = '10.0.0.100', port = '80', file = 'backends.txt'] = process.argv;

/** Slots that connections hash to, a power of two; each names a back end by its MAC address. */
const SLOTS = 256;
const Slot = struct('slot', { mac: bytes(6) });
const slots = arrayMap('slots', { value: Slot, maxEntries: SLOTS });
const forwarded = perCpuArray('forwarded', { value: u64, maxEntries: 1 });

const balancer = xdp('balancer', ($, packet) => {
  const eth = packet.take(Eth).orExit(XDP.PASS);
  $.if(eth.proto.ne(IPV4), () => XDP.PASS);
  const ip = packet.take(Ipv4).orExit(XDP.PASS);
  $.if(ip.destination.ne(ipv4(virtualAddress)).or(ip.protocol.ne(TCP)), () => XDP.PASS);
  // Only a first fragment has ports: fragments cannot be balanced without state.
  $.if(ip.fragment.and(0x3fff).ne(0), () => XDP.DROP);
  packet.skip(ip.versionIhl.and(0x0f).shl(2).sub(Ipv4.size), { max: 40 }).orExit(XDP.DROP);
  const ports = packet.take(Ports).orExit(XDP.DROP);
  $.if(ports.destination.ne(Number(port)), () => XDP.PASS);

  // Address and port of the sender; the rest of the five-tuple is the same for all. A multiplicative hash, its best bits.
  const tuple = ip.source.host().u64().shl(16).or(ports.source.host().u64());
  const hash = tuple.mul(0x9e37_79b9_7f4a_7c15n).shr(56).u32();
  const slot = $.lookup(slots, hash).orExit(XDP.DROP);
  eth.set({ src: eth.dst, dst: slot.mac });
  const count = $.lookup(forwarded, 0).orExit(XDP.TX);
  count.ref('value').add(1);
  return XDP.TX;
});

/**
 * Rendezvous hashing: each slot goes to the back end with the highest hash of both, so that a back end that leaves takes only its
 * own slots with it.
 */
function owner(slot: number, living: readonly string[]): string | undefined {
  const weight = (mac: string): bigint =>
    createHash('sha256')
      .update(`${mac} ${String(slot)}`)
      .digest()
      .readBigUInt64BE();
  return living.toSorted((a, b) => (weight(a) > weight(b) ? -1 : 1))[0];
}

using program = Program.load(balancer);
const table = program.map(slots);

/** The back ends of the file, by MAC address. @throws Error in one line, for a file that cannot be read and for a line that is no address. */
function backends(): string[] {
  const lines = readFileSync(file, 'utf8')
    .split('\n')
    .map((line) => line.trim());
  const wrong = lines.findIndex((line) => line !== '' && !/^([\da-f]{2}:){5}[\da-f]{2}$/i.test(line));
  if (wrong >= 0) throw new Error(`${file}:${String(wrong + 1)}: no MAC address: ${JSON.stringify(lines[wrong])}`);
  return lines.filter(Boolean);
}

function fill(): void {
  const living = backends();
  const entries = Array.from({ length: SLOTS }, (_, slot) => {
    const mac = owner(slot, living) ?? '00:00:00:00:00:00';
    return [slot, { mac: Buffer.from(mac.replaceAll(':', ''), 'hex') }] as const;
  });
  table.updateMany(entries);
  console.log(`${String(living.length)} back ends`);
}
try {
  fill();
} catch (error) {
  console.error((error as Error).message);
  process.exit(1);
}
process.on('SIGHUP', () => {
  try {
    fill();
  } catch (error) {
    console.error(`${(error as Error).message}; the back ends stay as they are`);
  }
});

using link = XdpLink.attach(program, interfaceName);
console.log(`balancing in ${link.mode ?? 'unknown'} mode`);
await untilInterrupted();
const total = program
  .map(forwarded)
  .lookup(0)!
  .reduce((sum, count) => sum + count, 0n);
console.log(`${String(total)} packets forwarded`);
