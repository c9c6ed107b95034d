/**
 * Two hosts joined by each kind of link that this kernel has, with real stacks on both ends. What lies under a tunnel is a veth pair with
 * addresses of its own.
 */
import { type ChildProcess, execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Netns } from '../../lab/netns.ts';
import { client, server } from '../../lab/topology.ts';
import { Program, XDP, xdp, XdpLink } from '../../src/ebpf/index.ts';

/** The interface of each host that frames come in by. */
export const LINK = 'link0';
const UNDER = 'under0';
const LOWER = { client: ['192.168.77.1', 'fd77::1'], server: ['192.168.77.2', 'fd77::2'] } as const;

type Side = 'client' | 'server';
export interface LinkEnds {
  readonly client: Netns;
  readonly server: Netns;
}

export interface LinkType {
  readonly name: string;
  /** Module of kernels that have it as one. */
  readonly module?: string;
  readonly families: readonly (4 | 6)[];
  /** The mode that `auto` takes. */
  readonly mode: 'native' | 'generic';
  /** Why it cannot be protected, where it cannot. */
  readonly refused?: RegExp;
  /** Makes `link0` on both hosts; processes that it needs meanwhile end with the namespaces. */
  readonly build: (ends: LinkEnds) => Promise<void> | void;
}

const BOTH = [4, 6] as const;
const sides = ['client', 'server'] as const;

/** Runs once for each host, with its lower addresses and the other's. */
function onBoth(
  ends: LinkEnds,
  action: (netns: Netns, side: Side, local: (typeof LOWER)[Side], remote: (typeof LOWER)[Side]) => void,
): void {
  for (const side of sides) action(ends[side], side, LOWER[side], LOWER[side === 'client' ? 'server' : 'client']);
}

/** A veth pair between the hosts. */
function veth(ends: LinkEnds, name: string): void {
  ends.client.ip('link', 'add', name, 'type', 'veth', 'peer', 'name', name, 'netns', ends.server.name);
  onBoth(ends, (netns) => {
    netns.ip('link', 'set', name, 'up');
  });
}

function underlay(ends: LinkEnds): void {
  veth(ends, UNDER);
  onBoth(ends, (netns, _side, [v4, v6]) => {
    netns.ip('addr', 'add', `${v4}/24`, 'dev', UNDER);
    netns.ip('addr', 'add', `${v6}/64`, 'dev', UNDER, 'nodad');
  });
}

/** Programs on other ends, until these are removed. */
const held: Disposable[] = [];

const tunnel =
  (...args: string[]) =>
  (ends: LinkEnds): void => {
    underlay(ends);
    onBoth(ends, (netns, _side, [local], [remote]) => {
      netns.ip('link', 'add', LINK, 'type', ...args, 'local', local, 'remote', remote);
    });
  };

/** A device on top of the veth pair's ends. */
const above =
  (...args: string[]) =>
  (ends: LinkEnds): void => {
    veth(ends, UNDER);
    onBoth(ends, (netns) => {
      netns.ip('link', 'add', 'link', UNDER, 'name', LINK, 'type', ...args);
    });
  };

/** A device that takes the veth pair's ends in. */
const over =
  (...args: string[]) =>
  (ends: LinkEnds): void => {
    veth(ends, UNDER);
    onBoth(ends, (netns) => {
      netns.ip('link', 'add', LINK, 'type', ...args);
      netns.ip('link', 'set', UNDER, 'down');
      netns.ip('link', 'set', UNDER, 'master', LINK);
      netns.ip('link', 'set', UNDER, 'up');
    });
  };

/** Carries packets between a device of the kind in either namespace. */
const RELAY = `
import ctypes, fcntl, os, select, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
ends = []
for path in sys.argv[2:4]:
    with open(path) as namespace:
        if libc.setns(namespace.fileno(), 0x40000000): raise OSError(ctypes.get_errno(), path)
    end = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(end, 0x400454ca, struct.pack("16sH22x", b"${LINK}", int(sys.argv[1])))
    ends.append(end)
print("up", flush=True)
while True:
    for end in select.select(ends, [], [])[0]:
        data = os.read(end, 65536)
        try: os.write(ends[1 - ends.index(end)], data)
        except OSError: pass`;
const IFF = { TUN: 0x1001, TAP: 0x1002, PI: 0x0001 };

const relayed =
  (flags: number) =>
  async (ends: LinkEnds): Promise<void> => {
    const relay: ChildProcess = ends.client.spawn(
      'python3',
      ['-c', RELAY, String(flags), ends.client.path, ends.server.path],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    await once(relay.stdout!, 'data');
  };

function wireguard(ends: LinkEnds): void {
  underlay(ends);
  const key = (...args: string[]): string => execFileSync('wg', args, { encoding: 'utf8' }).trim();
  const keys = { client: key('genkey'), server: key('genkey') };
  const publicKey = (side: Side): string =>
    execFileSync('wg', ['pubkey'], { input: keys[side], encoding: 'utf8' }).trim();
  onBoth(ends, (netns, side, _local, [remote]) => {
    netns.ip('link', 'add', LINK, 'type', 'wireguard');
    const file = join(tmpdir(), `seawall-${netns.name}-key`);
    writeFileSync(file, keys[side], { mode: 0o600 });
    const peer = publicKey(side === 'client' ? 'server' : 'client');
    const args = [
      'set',
      LINK,
      'listen-port',
      '51820',
      'private-key',
      file,
      'peer',
      peer,
      'endpoint',
      `${remote}:51820`,
    ];
    netns.run(() => execFileSync('wg', [...args, 'allowed-ips', '0.0.0.0/0,::/0']));
  });
}

export const linkTypes: readonly LinkType[] = [
  {
    name: 'veth',
    mode: 'generic',
    families: BOTH,
    build: (ends) => {
      veth(ends, LINK);
    },
  },
  {
    name: 'veth whose other end runs XDP',
    mode: 'native',
    families: BOTH,
    build: (ends) => {
      veth(ends, LINK);
      using program = Program.load(xdp('passing', () => XDP.PASS));
      held.push(ends.client.run(() => XdpLink.attach(program, LINK, { mode: 'native' })));
    },
  },
  { name: 'tun', mode: 'generic', module: 'tun', families: BOTH, build: relayed(IFF.TUN) },
  { name: 'tun with packet information', mode: 'generic', module: 'tun', families: BOTH, build: relayed(IFF.PI) },
  { name: 'tap', mode: 'native', module: 'tun', families: BOTH, build: relayed(IFF.TAP) },
  { name: 'bridge', mode: 'generic', module: 'bridge', families: BOTH, build: over('bridge') },
  {
    name: 'bond',
    mode: 'native',
    module: 'bonding',
    families: BOTH,
    build: over('bond', 'mode', 'active-backup', 'miimon', '50'),
  },
  { name: 'VLAN', mode: 'generic', module: '8021q', families: BOTH, build: above('vlan', 'id', '7') },
  { name: 'macvlan', mode: 'generic', module: 'macvlan', families: BOTH, build: above('macvlan') },
  {
    name: 'VXLAN',
    mode: 'generic',
    module: 'vxlan',
    families: BOTH,
    build: tunnel('vxlan', 'id', '7', 'dstport', '4789'),
  },
  { name: 'gretap', mode: 'generic', module: 'ip_gre', families: BOTH, build: tunnel('gretap') },
  { name: 'IPIP', mode: 'generic', module: 'ipip', families: [4], build: tunnel('ipip') },
  {
    name: 'IPv6 tunnel',
    mode: 'generic',
    module: 'ip6_tunnel',
    families: BOTH,
    build: (ends) => {
      underlay(ends);
      onBoth(ends, (netns, _side, [, local], [, remote]) => {
        netns.ip('link', 'add', LINK, 'type', 'ip6tnl', 'mode', 'any', 'local', local, 'remote', remote);
      });
    },
  },
  { name: 'WireGuard', mode: 'generic', module: 'wireguard', families: BOTH, build: wireguard },
  {
    name: 'GRE',
    mode: 'generic',
    module: 'ip_gre',
    families: BOTH,
    build: tunnel('gre'),
    refused: /link0 .*gre, ARPHRD 778/,
  },
  {
    name: 'SIT',
    mode: 'generic',
    module: 'sit',
    families: [6],
    build: tunnel('sit'),
    refused: /link0 .*sit, ARPHRD 776/,
  },
];

/** The kinds of device that the kernel makes. */
export function linkTypesHere(): readonly LinkType[] {
  return linkTypes.filter((type) => {
    const ends = endsOf('seawall-has-link');
    try {
      create(ends);
      // The relays are Python's; whether there is a tun is seen by ip(8).
      if (type.module === 'tun') ends.client.ip('tuntap', 'add', 'dev', LINK, 'mode', 'tun');
      else void type.build(ends);
      return true;
    } catch {
      return false;
    } finally {
      remove(ends);
    }
  });
}

const endsOf = (lab: string): LinkEnds => ({ client: new Netns(`${lab}-client`), server: new Netns(`${lab}-server`) });
function create(ends: LinkEnds): void {
  remove(ends);
  for (const side of sides) {
    ends[side].create();
    // Each interface answers for its own addresses.
    ends[side].run(() => {
      writeFileSync('/proc/sys/net/ipv4/conf/all/arp_ignore', '1');
    });
  }
}
function remove(ends: LinkEnds): void {
  for (const program of held.splice(0)) program[Symbol.dispose]();
  for (const side of sides) ends[side].remove();
}

/** A link with addresses on both ends, and a server behind it. */
export class LinkLab implements Disposable {
  readonly client: Netns;
  readonly server: Netns;

  private constructor(ends: LinkEnds) {
    ({ client: this.client, server: this.server } = ends);
  }

  static async create(lab: string, type: LinkType): Promise<LinkLab> {
    const ends = endsOf(lab);
    create(ends);
    const made = new LinkLab(ends);
    try {
      await type.build(ends);
      for (const host of [client, server]) {
        const netns = ends[host.name];
        if (type.families.includes(4)) netns.ip('addr', 'add', `${host.ipv4}/24`, 'dev', LINK);
        if (type.families.includes(6)) netns.ip('addr', 'add', `${host.ipv6}/64`, 'dev', LINK, 'nodad');
        netns.ip('link', 'set', LINK, 'up');
      }
      return made;
    } catch (error) {
      made[Symbol.dispose]();
      throw error;
    }
  }

  /** Serves `bytes` of a page on port 80 of the server. */
  async serve(bytes: number): Promise<void> {
    const script = `const page = Buffer.alloc(${String(bytes)}, 'the same again ');
      require('node:http').createServer((_, r) => r.end(page)).listen(80, '::', () => console.log('listening'))`;
    const http = this.server.spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(http.stdout!, 'data');
  }

  /** What a client read of the page; the error where there was one. */
  fetch(family: 4 | 6): string {
    const url = family === 4 ? `http://${server.ipv4}/` : `http://[${server.ipv6}]/`;
    const script = `require('node:http').get('${url}', (r) => { const h = require('node:crypto').createHash('sha256'); let n = 0;
      r.on('data', (d) => { n += d.length; h.update(d); }); r.on('end', () => console.log(n, h.digest('hex'))); }).on('error', (e) => console.log(String(e)))`;
    return this.client
      .run(() => spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', timeout: 60_000 }))
      .stdout.trim();
  }

  /** Sends IPv4 packets as they are. */
  send(packets: readonly Buffer[]): void {
    const script = `
import socket, sys
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for line in sys.stdin: raw.sendto(bytes.fromhex(line), ("${server.ipv4}", 0))`;
    const input = packets.map((packet) => `${packet.toString('hex')}\n`).join('');
    this.client.run(() => execFileSync('python3', ['-c', script], { input }));
  }

  /** Begins so many connections at once, from one address, and gives them up. */
  flood(family: 4 | 6, connections: number): void {
    const host = family === 4 ? server.ipv4 : server.ipv6;
    // The neighbour is known first: a bridge may lose the first question for it, and the next comes after a second.
    this.client.run(() => execFileSync('ping', ['-c', '1', '-w', '20', host]));
    const script = `for (let i = 0; i < ${String(connections)}; i++) require('node:net').connect(80, '${host}').on('error', () => {}); setTimeout(() => process.exit(), 100)`;
    this.client.run(() => spawnSync(process.execPath, ['-e', script], { timeout: 60_000 }));
  }

  [Symbol.dispose](): void {
    remove(this);
  }
}
