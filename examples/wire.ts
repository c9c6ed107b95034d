/** A wire between two interfaces: what comes in by one goes out by the other, in the driver: `node wire.js eth0 eth1`. */
import { deviceHash, perCpuArray, Program, u64, XDP, XdpLink, xdp } from 'seawall/ebpf';
import { untilInterrupted } from './until-interrupted.js';

/** The interface that frames go out by, under the index of the one that they come in by. */
const outgoing = deviceHash('outgoing', { maxEntries: 2 });
const frames = perCpuArray('frames', { value: u64, maxEntries: 1 });

const wire = xdp('wire', ($, packet) => {
  const count = $.lookup(frames, 0).orExit(XDP.ABORTED);
  count.ref('value').add(1);
  // Until user space has filled the map, frames go up the stack.
  return $.redirect(outgoing, packet.ingressInterface(), XDP.PASS);
});

const [, , first = 'eth0', second = 'eth1'] = process.argv;
using program = Program.load(wire);
using one = XdpLink.attach(program, first);
using other = XdpLink.attach(program, second);
const table = program.map(outgoing);
table.update(one.interfaceIndex, other.interfaceIndex);
table.update(other.interfaceIndex, one.interfaceIndex);
console.log(`${first} and ${second} joined in ${one.mode ?? 'unknown'} and ${other.mode ?? 'unknown'} mode`);
await untilInterrupted();
const total = program
  .map(frames)
  .lookup(0)!
  .reduce((sum, count) => sum + count, 0n);
console.log(`${String(total)} frames received`);
