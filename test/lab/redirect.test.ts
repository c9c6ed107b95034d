import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Netns } from '../../lab/netns.ts';
import {
  type Builder,
  cpuMap,
  deviceHash,
  deviceMap,
  interfaceIndex,
  kernelAtLeast,
  type Packet,
  perCpuArray,
  possibleCpus,
  Program,
  type ProgramSpec,
  TC,
  tc,
  TcLink,
  type TcVerdict,
  u64,
  XDP,
  xdp,
  XdpLink,
  type XdpVerdict,
} from '../../src/ebpf/index.ts';
import { Eth, ETH_P, IPPROTO, Ipv4 } from '../../src/net/headers.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { Running } from '../support/cli.ts';

/** Two hosts with a third between them, which joins them only while a program redirects. */
const [left, middle, right] = ['left', 'middle', 'right'].map((name) => new Netns(`seawall-redirect-${name}`)) as [
  Netns,
  Netns,
  Netns,
];
const ADDRESSES = { left: '10.8.0.1', right: '10.8.0.2', middle: '10.8.0.3' } as const;
const ENDS = ['left', 'right'] as const;
type End = (typeof ENDS)[number];
const other = (end: End): End => (end === 'left' ? 'right' : 'left');
/** The index of the interface of the middle that leads to an end. */
const to = (end: End): number => middle.run(() => interfaceIndex(end)!);

const held: Disposable[] = [];
const down = (): void => {
  for (const netns of [left, middle, right]) netns.remove();
};

const ping = (address: string, ...prefix: string[]): number | null =>
  left.run(() => {
    const [command, ...args] = [...prefix, 'ping', '-c', '3', '-i', '0.05', '-W', '1', address];
    return spawnSync(command, args).status;
  });

const reaches = (address: string): boolean =>
  left.run(() => spawnSync('ping', ['-c', '1', '-W', '0.3', address])).status === 0;

/** Whether a page of a megabyte comes through. */
function download(): boolean {
  const args = ['-s', '-f', '-m', '10', `http://${ADDRESSES.right}:8080/`];
  return left.run(() => spawnSync('curl', args, { maxBuffer: 1 << 24 })).stdout.length === 1 << 20;
}

const total = (perCpu: readonly bigint[]): bigint => perCpu.reduce((sum, one) => sum + one, 0n);

const devices = deviceMap('devices', { maxEntries: 2 });
const byIndex = deviceHash('by_index', { maxEntries: 8 });

type Attach = (program: Program, end: End) => Disposable;
const inXdp: Attach = (program, end) => middle.run(() => XdpLink.attach(program, end, { mode: 'native' }));
const inTc: Attach = (program, end) => middle.run(() => TcLink.attach(program, end));

/** Each way to join the ends: the program for the interface that leads to one, what fills its maps, and how it is attached. */
const WAYS: readonly (readonly [string, (from: End) => ProgramSpec, (program: Program) => void, Attach])[] = [
  [
    'a device map',
    (from) => xdp('devices', ($) => $.redirect(devices, ENDS.indexOf(other(from)), XDP.DROP)),
    (program) => {
      program.map(devices).updateMany(ENDS.map((end, index) => [index, to(end)]));
    },
    inXdp,
  ],
  [
    'a device hash',
    () => xdp('by_index', ($, packet) => $.redirect(byIndex, packet.ingressInterface(), XDP.PASS)),
    (program) => {
      for (const end of ENDS) program.map(byIndex).update(to(end), to(other(end)));
    },
    inXdp,
  ],
  ['an index in XDP', (from) => xdp('index', ($) => $.redirect(to(other(from)))), () => {}, inXdp],
  ['an index in traffic control', (from) => tc('index', ($) => $.redirect(to(other(from)))), () => {}, inTc],
];

/** Echo requests by the CPU that saw them, before and behind a CPU map. */
const arrived = perCpuArray('arrived', { value: u64, maxEntries: 1 });
const processed = perCpuArray('processed', { value: u64, maxEntries: 1 });
const targets = cpuMap('targets', { maxEntries: possibleCpus() });

function isPing<R extends XdpVerdict | TcVerdict>($: Builder<R>, packet: Packet<R>, otherwise: R): void {
  const eth = packet.take(Eth).orExit(otherwise);
  $.if(eth.proto.ne(ETH_P.IP), () => otherwise);
  const ip = packet.take(Ipv4).orExit(otherwise);
  $.if(ip.protocol.ne(IPPROTO.ICMP), () => otherwise);
}

describeAsRoot('redirecting', () => {
  beforeAll(async () => {
    down();
    for (const netns of [left, middle, right]) netns.create();
    const passing = Program.load(xdp('passing', () => XDP.PASS));
    held.push(passing);
    for (const [end, netns] of [
      ['left', left],
      ['right', right],
    ] as const) {
      middle.ip('link', 'add', end, 'type', 'veth', 'peer', 'eth0', 'netns', netns.name);
      middle.ip('link', 'set', end, 'up');
      netns.ip('address', 'add', `${ADDRESSES[end]}/24`, 'dev', 'eth0');
      netns.ip('link', 'set', 'eth0', 'up');
      // Frames that XDP forwards have no checksum left for the hardware to fill in.
      netns.run(() => spawnSync('ethtool', ['-K', 'eth0', 'tx', 'off']));
      // A veth takes in what XDP sends by its peer only while it has a program itself.
      held.push(netns.run(() => XdpLink.attach(passing, 'eth0', { mode: 'native' })));
    }
    middle.ip('address', 'add', `${ADDRESSES.middle}/24`, 'dev', 'left');
    const page = `require('node:http').createServer((_, r) => r.end(Buffer.alloc(1 << 20))).listen(8080, () => console.log('up'))`;
    await right.run(() => new Running(process.execPath, ['-e', page])).until(/up/);
  });
  afterAll(() => {
    for (const one of held) one[Symbol.dispose]();
    down(); // and the server with it
  });

  it.each(WAYS)('by %s joins two networks, for pings and for TCP', (_way, programFor, fill, attach) => {
    if (attach === inTc && !kernelAtLeast('6.6')) return;
    expect(reaches(ADDRESSES.right)).toBe(false);
    const opened: Disposable[] = [];
    try {
      for (const end of ENDS) {
        const program = Program.load(programFor(end));
        opened.push(program);
        middle.run(() => {
          fill(program);
        });
        opened.push(attach(program, end));
      }
      expect(ping(ADDRESSES.right)).toBe(0);
      expect(download()).toBe(true);
    } finally {
      for (const one of opened.toReversed()) one[Symbol.dispose]();
    }
  });

  it('by a device map that has nothing under the key leaves with the verdict given for that', () => {
    const passing = xdp('nothing', ($) => $.redirect(devices, 1, XDP.PASS));
    const dropping = xdp('nothing', ($) => $.redirect(devices, 1, XDP.DROP));
    for (const [spec, status] of [
      [passing, 0],
      [dropping, 1],
    ] as const) {
      using program = Program.load(spec);
      using _link = inXdp(program, 'left');
      expect(ping(ADDRESSES.middle)).toBe(status);
    }
  });

  it.skipIf(!kernelAtLeast('6.6'))('to the ingress of an interface lets packets come in there', () => {
    using arriving = Program.load(
      tc('arriving', ($, packet) => {
        isPing($, packet, TC.UNSPEC);
        $.lookup(processed, 0).orExit(TC.UNSPEC).ref('value').add(1);
        return TC.SHOT;
      }),
    );
    using _there = inTc(arriving, 'right');
    using sending = Program.load(tc('sending', ($) => $.redirect(to('right'), { ingress: true })));
    using _here = inTc(sending, 'left');
    // The neighbour's address cannot be asked for: nobody answers.
    left.ip('neigh', 'replace', ADDRESSES.right, 'lladdr', '02:00:00:00:00:02', 'dev', 'eth0');
    expect(ping(ADDRESSES.right)).toBe(1);
    left.ip('neigh', 'del', ADDRESSES.right, 'dev', 'eth0');
    expect(total(arriving.map(processed).lookup(0)!)).toBe(3n);
  });

  it.skipIf(!kernelAtLeast('6.6'))('into a CPU map goes up the stack on that CPU', () => {
    const [from, target] = [0, cpus().length - 1];
    using steering = Program.load(
      xdp('steering', ($, packet) => {
        isPing($, packet, XDP.PASS);
        $.lookup(arrived, 0).orExit(XDP.PASS).ref('value').add(1);
        return $.redirect(targets, target, XDP.DROP);
      }),
    );
    steering.map(targets).update(target, 192);
    using behind = Program.load(
      tc('behind', ($, packet) => {
        isPing($, packet, TC.UNSPEC);
        $.lookup(processed, 0).orExit(TC.UNSPEC).ref('value').add(1);
        return TC.UNSPEC;
      }),
    );
    using _stack = inTc(behind, 'left');
    using _driver = inXdp(steering, 'left');
    expect(ping(ADDRESSES.middle, 'taskset', '-c', String(from))).toBe(0);
    // A veth receives on the CPU that sends.
    expect(steering.map(arrived).lookup(0)![from]).toBe(3n);
    const seen = behind.map(processed).lookup(0)!;
    expect([seen[target], total(seen)]).toEqual([3n, 3n]);
  });
});
