/** Counts packets and bytes in both directions: `node tc-bytes.js eth0`. XDP sees what comes in only; traffic control both. */
import { perCpuArray, Program, struct, TC, tc, TcLink, u64 } from 'seawall/ebpf';
import { untilInterrupted } from './until-interrupted.js';

const Traffic = struct('traffic', { packets: u64, bytes: u64 });
const DIRECTIONS = ['ingress', 'egress'] as const;
const traffic = perCpuArray('traffic', { value: Traffic, maxEntries: DIRECTIONS.length });

const counter = (direction: number) =>
  tc(`count_${DIRECTIONS[direction]!}`, ($, packet) => {
    const counted = $.lookup(traffic, direction).orExit(TC.UNSPEC);
    counted.ref('packets').add(1);
    counted.ref('bytes').add(packet.totalLength().u64());
    return TC.UNSPEC; // the packet goes on as it would without this program
  });

const interfaceName = process.argv[2] ?? 'eth0';
using incoming = Program.load(counter(0));
using outgoing = Program.load(counter(1), { maps: [incoming.map(traffic)] });
using ingress = TcLink.attach(incoming, interfaceName, 'ingress');
using egress = TcLink.attach(outgoing, interfaceName, 'egress');
console.log(`counting on interface ${String(ingress.interfaceIndex)} and ${String(egress.interfaceIndex)}`);
await untilInterrupted();
for (const [index, direction] of DIRECTIONS.entries()) {
  const all = incoming.map(traffic).lookup(index)!;
  const sum = (field: 'packets' | 'bytes'): bigint => all.reduce((total, one) => total + one[field], 0n);
  console.log(`${direction}: ${String(sum('packets'))} packets, ${String(sum('bytes'))} bytes`);
}
