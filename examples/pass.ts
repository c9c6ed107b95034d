/** Lets everything pass, on each interface named: `node pass.js veth0 veth1`. The end of a veth takes in what its peer sends by XDP_TX only so. */
import { Program, XDP, XdpLink, xdp } from 'seawall/ebpf';
import { untilInterrupted } from './until-interrupted.js';

using program = Program.load(xdp('pass', () => XDP.PASS));
const links = process.argv.slice(2).map((name) => XdpLink.attach(program, name));
console.log(`passing on ${String(links.length)} interfaces`);
await untilInterrupted();
for (const link of links) link[Symbol.dispose]();
