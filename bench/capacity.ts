/**
 * `npm run bench -- capacity`: SYNs a second that one core takes in, generator included, for what Seawall does and for what users have
 * otherwise; and how legitimate clients fare beside. The generator runs at full speed on a core that also does the whole receive path in
 * softirq; for the clients, the receiving interface has a thread and a core of its own, and clients run on either core.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import type { Attempt } from '../lab/clients.ts';
import type { FloodOptions, FloodReport } from '../lab/flood.ts';
import type { FloodSources } from '../lab/flood-program.ts';
import { RECEIVING_CPU, SENDING_CPU, threadReceive } from '../lab/placement.ts';
import { client, LAB_INTERFACE, labDown, labUp, namespaceOf, POOL, server } from '../lab/topology.ts';
import { Workers } from '../lab/workers.ts';
import { type BpfMap, Program, XdpLink } from '../src/ebpf/index.ts';
import { XDP, xdp } from '../src/ebpf/language.ts';
import { type PolicyInput, protect } from '../src/index.ts';
import { Eth, Ipv4 } from '../src/net/headers.ts';
import { loadCommonDesign } from './clang/load.ts';
import { median, round } from './statistics.ts';

const LAB = 'seawall-capacity';
const SECONDS = 2;
const ROUNDS = 3;
/** Seconds of clients: few for those whose every second connection fails, and enough for a thousand connections of each kind and placement. */
const FEW_SECONDS = 5;
const MANY_SECONDS = 40;
const PER_SECOND = 50;
const RATES = [300_000, 1_000_000, 1_500_000, 2_500_000];
/** What counts as serving clients, and the share of the flood that must have come in for that to say anything. */
const GOOD = 0.999;
const RECEIVED = 0.95;
const there = namespaceOf(server, LAB);
const here = namespaceOf(client, LAB);

/** What stands between flood and server, until it is disposed of. */
interface Defence {
  readonly name: string;
  /** Whether clients can get through at all. */
  readonly serves: boolean;
  /** Whether clients are expected to get through, so that it is worth counting many. */
  readonly challenges?: boolean;
  readonly raise: () => Disposable;
}

function nft(rules: string): Disposable {
  there.run(() => execFileSync('nft', ['-f', '-'], { input: rules }));
  return { [Symbol.dispose]: () => there.run(() => execFileSync('nft', ['flush', 'ruleset'])) };
}

function iptables(...rule: string[]): Disposable {
  const run = (flag: string): void => {
    there.run(() => execFileSync('iptables', [flag, 'INPUT', ...rule], { stdio: 'pipe' }));
  };
  run('-A');
  return {
    [Symbol.dispose]: () => {
      run('-D');
    },
  };
}

function attached(program: Program, maps: readonly BpfMap[] = []): Disposable {
  const link = there.run(() => XdpLink.attach(program, LAB_INTERFACE, { mode: 'native' }));
  return {
    [Symbol.dispose]: () => {
      link[Symbol.dispose]();
      program[Symbol.dispose]();
      for (const map of maps) map[Symbol.dispose]();
    },
  };
}

const guarded = (policy: PolicyInput) => (): Disposable => there.run(() => protect(LAB_INTERFACE, policy));
const passing = xdp('passing', () => XDP.PASS);
const dropping = xdp('dropping', () => XDP.DROP);
/** Sends every frame back to where it says it came from: what any answer costs, whatever is in it. */
const bouncing = xdp('bouncing', (_$, packet) => {
  const eth = packet.take(Eth).orExit(XDP.DROP);
  const mac = eth.dst;
  eth.set({ dst: eth.src, src: mac });
  const ip = packet.take(Ipv4).orExit(XDP.DROP);
  const address = ip.daddr;
  ip.set({ daddr: ip.saddr, saddr: address });
  return XDP.TX;
});

function commonDesign(twins: string): Disposable {
  const { program, maps } = loadCommonDesign(`${twins}/common_one.c`);
  return attached(program, maps);
}

const HASHLIMIT =
  '-p tcp --syn -m hashlimit --hashlimit-above 1/sec --hashlimit-burst 5 --hashlimit-mode srcip --hashlimit-name syn -j DROP';
const NFT_SET = `table ip f {
  set s { type ipv4_addr; size 65535; flags dynamic,timeout; timeout 10s; }
  chain input {
    type filter hook input priority 0;
    tcp flags & (syn | ack) == syn update @s { ip saddr limit rate over 1/second burst 5 packets } drop
  }
}`;
const SYNPROXY = `table ip f {
  chain raw { type filter hook prerouting priority raw; tcp dport 80 tcp flags syn notrack; }
  chain input {
    type filter hook input priority 0;
    tcp dport 80 ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm
    ct state invalid drop
  }
}`;

function defences(twins: string): Defence[] {
  return [
    { name: 'drop everything', serves: false, raise: () => attached(Program.load(dropping)) },
    { name: 'send everything back', serves: false, raise: () => attached(Program.load(bouncing)) },
    { name: 'seawall, limiting', serves: true, raise: guarded({ challenge: { mode: 'off' } }) },
    { name: 'seawall, cookie', serves: true, challenges: true, raise: guarded({}) },
    { name: 'seawall, reset', serves: true, challenges: true, raise: guarded({ challenge: { form: 'reset' } }) },
    { name: 'bare kernel, SYN cookies', serves: true, raise: () => attached(Program.load(passing)) },
    {
      name: 'iptables hashlimit',
      serves: true,
      raise: () => both(attached(Program.load(passing)), iptables(...HASHLIMIT.split(' '))),
    },
    { name: 'nftables set per source', serves: true, raise: () => both(attached(Program.load(passing)), nft(NFT_SET)) },
    { name: 'nftables SYNPROXY', serves: true, raise: () => both(attached(Program.load(passing)), nft(SYNPROXY)) },
    { name: 'XDP, common design', serves: true, raise: () => commonDesign(twins) },
  ];
}

function both(first: Disposable, second: Disposable): Disposable {
  return {
    [Symbol.dispose]: () => {
      second[Symbol.dispose]();
      first[Symbol.dispose]();
    },
  };
}

async function flood(workers: Workers, options: Omit<FloodOptions, 'lab'>): Promise<FloodReport> {
  const flooder = workers.start(here, './flooder.js', [JSON.stringify({ ...options, lab: LAB })], SENDING_CPU);
  return await workers.message(flooder, 'flood');
}

interface Legit {
  readonly rate: number;
  readonly offered: number;
  /** What the server's interface took in; where it is less than what was offered, who got through is luck. */
  readonly received: number;
  /** Share of connections that succeeded, of the pool and of the one address, each in the worse placement. */
  readonly pool: number;
  readonly office: number;
}

async function legitimate(workers: Workers, rate: number, clientSeconds: number): Promise<Legit> {
  threadReceive(there);
  const flooding = flood(workers, { rate, sources: 'random', seconds: clientSeconds + 3 });
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const placements = [...new Set([SENDING_CPU, RECEIVING_CPU])];
  const share = async (cpu: number, first: number): Promise<number> => {
    const args = [`http://${server.ipv4}/`, PER_SECOND / placements.length, clientSeconds, first].map(String);
    const attempts = await workers.message<Attempt[]>(workers.start(here, './clients.js', args, cpu), 'clients');
    return attempts.filter(({ succeeded }) => succeeded).length / attempts.length;
  };
  const [pool, office] = await Promise.all([
    Promise.all(placements.map((cpu, index) => share(cpu, (index * POOL.size) / placements.length))),
    Promise.all(placements.map((cpu) => share(cpu, -1))),
  ]);
  const { pps, received, seconds } = await flooding;
  return {
    rate,
    offered: pps,
    received: Math.round(received / seconds),
    pool: round(Math.min(...pool), 4),
    office: round(Math.min(...office), 4),
  };
}

export interface CapacityRow {
  readonly defence: string;
  readonly one: number;
  readonly random: number;
  /** The highest flood rate at which 99.9 % of legitimate connections succeed, of both kinds and in the worse placement; 0 for none that was tried. */
  readonly highest?: number;
  readonly legit?: readonly Legit[];
}

function highest(legit: readonly Legit[]): number {
  const good = legit.filter(
    ({ pool, office, offered, received }) => pool >= GOOD && office >= GOOD && received >= RECEIVED * offered,
  );
  return Math.max(0, ...good.map(({ rate }) => rate));
}

export async function capacity(twins: string, withClients: boolean): Promise<CapacityRow[]> {
  labDown(LAB);
  labUp(LAB);
  using workers = new Workers();
  try {
    await workers.message(workers.start(there, './http-server.js', ['80'], RECEIVING_CPU), 'HTTP server');
    there.run(() => {
      writeFileSync('/proc/sys/net/ipv4/tcp_syncookies', '1');
    });
    const all = defences(twins);
    const taken = new Map(all.map(({ name }) => [name, { one: [] as number[], random: [] as number[] }]));
    for (let turn = 0; turn < ROUNDS; turn++) {
      for (const { name, raise } of all) {
        using _defence = raise();
        for (const sources of ['one', 'random'] as const satisfies readonly FloodSources[]) {
          const { received, seconds } = await flood(workers, { rate: 50_000_000, sources, seconds: SECONDS });
          taken.get(name)![sources].push(received / seconds);
        }
      }
    }
    const rows: CapacityRow[] = [];
    for (const { name, serves, challenges = false, raise } of all) {
      const { one, random } = taken.get(name)!;
      const legit: Legit[] = [];
      if (withClients && serves) {
        for (const rate of RATES) {
          using _defence = raise();
          legit.push(await legitimate(workers, rate, challenges ? MANY_SECONDS : FEW_SECONDS));
        }
      }
      rows.push({
        defence: name,
        one: Math.round(median(one)),
        random: Math.round(median(random)),
        ...(withClients && serves ? { highest: highest(legit), legit } : {}),
      });
    }
    return rows;
  } finally {
    labDown(LAB);
  }
}
