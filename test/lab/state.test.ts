/** Connections whose segments come in while strays are over their budget: each with its own way of not looking like one. */
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { flood } from '../../lab/flood.ts';
import { Netns } from '../../lab/netns.ts';
import { client, LAB_INTERFACE, labDown, labUp, namespaceOf, server } from '../../lab/topology.ts';
import { type PolicyInput, protect, type ProtectedInterface } from '../../src/index.ts';
import { describeAsRoot } from '../support/as-root.ts';

const LAB = `seawall-stray-${process.pid}`;
const clients = namespaceOf(client, LAB);
const servers = namespaceOf(server, LAB);
const inner = new Netns(`${LAB}-inner`);

const ECHO = `require('node:net').createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(80, '::', () => console.log('listening'));`;
/** Opens a connection and says so; sends a line whenever it gets one, and tells what comes back or how the connection ends. */
const TALKER = `
const socket = require('node:net').connect({ port: Number(process.argv[2]), host: process.argv[1] }, () => console.log('open'));
socket.on('data', (data) => console.log('echo ' + data));
socket.on('error', ({ code }) => { console.log(code); process.exit(); });
require('node:readline').createInterface(process.stdin).on('line', (line) => socket.write(line));`;

/** Nothing is in the budget after the first stray. */
const strict: PolicyInput = {
  state: 'always',
  challenge: { mode: 'off' },
  limits: { source: false, prefixes: [], strays: { rate: '1/h', burst: 1 } },
};

class Talker implements Disposable {
  readonly #process;
  readonly #lines;

  constructor(netns: Netns, host = server.ipv4, port = 80) {
    this.#process = netns.spawn(process.execPath, ['-e', TALKER, host, String(port)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#lines = createInterface(this.#process.stdout!)[Symbol.asyncIterator]();
  }

  async next(): Promise<string> {
    return (await this.#lines.next()).value as string;
  }

  async says(line: string): Promise<string> {
    this.#process.stdin!.write(`${line}\n`);
    return await this.next();
  }

  [Symbol.dispose](): void {
    this.#process.kill('SIGKILL');
  }
}

function nft(netns: Netns, rules: string): Disposable {
  netns.run(() => execFileSync('nft', ['-f', '-'], { input: rules }));
  return { [Symbol.dispose]: () => netns.run(() => execFileSync('nft', ['flush', 'ruleset'])) };
}

/** Segments that a host sent as RST since it began. */
const resetsSent = (netns: Netns): number => {
  const [names, values] = netns
    .run(() => readFileSync('/proc/net/snmp', 'latin1'))
    .split('\n')
    .filter((line) => line.startsWith('Tcp:'));
  return Number(values!.split(' ')[names!.split(' ').indexOf('OutRsts')]);
};

describeAsRoot('strays', () => {
  let guard: ProtectedInterface | undefined;
  const listen = async (netns: Netns) => {
    const echo = netns.spawn(process.execPath, ['-e', ECHO], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(echo.stdout!, 'data');
    return echo;
  };
  /** Protects the server, and uses the budget up. */
  const raise = (policy: PolicyInput = strict): void => {
    guard = servers.run(() => protect(LAB_INTERFACE, policy));
    for (let turn = 0; turn < 50 && guard.stats().reasons.stray === 0n; turn++)
      flood({ rate: 1000, sources: 'one', kind: 'ack', seconds: 0.1, port: 81, lab: LAB });
    expect(guard.stats().reasons.stray).toBeGreaterThan(0n);
  };
  beforeAll(async () => {
    inner.remove();
    labDown(LAB);
    labUp(LAB);
    // A second link between both hosts.
    clients.ip('link', 'add', 'eth1', 'type', 'veth', 'peer', 'name', 'eth1', 'netns', servers.name);
    // A host behind the server.
    inner.create();
    servers.ip('link', 'add', 'down0', 'type', 'veth', 'peer', 'name', 'up0', 'netns', inner.name);
    servers.ip('addr', 'add', '172.20.0.1/24', 'dev', 'down0');
    servers.ip('link', 'set', 'down0', 'up');
    inner.ip('addr', 'add', '172.20.0.2/24', 'dev', 'up0');
    inner.ip('link', 'set', 'up0', 'up');
    inner.ip('route', 'add', 'default', 'via', '172.20.0.1');
    await Promise.all([listen(servers), listen(clients), listen(inner)]);
  });
  afterEach(() => {
    guard?.[Symbol.dispose]();
    guard = undefined;
    servers.run(() => {
      writeFileSync('/proc/sys/net/ipv4/tcp_syncookies', '1');
      writeFileSync('/proc/sys/net/ipv4/ip_forward', '0');
    });
  });
  afterAll(() => {
    inner.remove();
    labDown(LAB);
  });

  it.each([server.ipv4, server.ipv6])(
    'a connection older than the protection goes on, and a new one opens: %s',
    async (host) => {
      using old = new Talker(clients, host);
      expect(await old.next()).toBe('open');
      raise();
      expect(await old.says('a')).toBe('echo a');
      using fresh = new Talker(clients, host);
      expect(await fresh.next()).toBe('open');
      expect(await fresh.says('b')).toBe('echo b');
    },
  );

  it('a connection that this host opens goes on', async () => {
    raise();
    using talker = new Talker(servers, client.ipv4);
    expect(await talker.next()).toBe('open');
    expect(await talker.says('a')).toBe('echo a');
  });

  it("a connection by the kernel's own cookie opens", async () => {
    servers.run(() => {
      writeFileSync('/proc/sys/net/ipv4/tcp_syncookies', '2');
    });
    raise();
    using talker = new Talker(clients);
    expect(await talker.next()).toBe('open');
    expect(await talker.says('a')).toBe('echo a');
  });

  it.each(['assign', 'kernel', 'reset'] as const)('a challenged connection opens: %s', async (form) => {
    raise({ ...strict, challenge: { mode: 'always', form, 'set-sysctls': true } });
    using talker = new Talker(clients);
    expect(await talker.next()).toBe('open');
    expect(await talker.says('a')).toBe('echo a');
  });

  it('a connection whose other half takes another link goes on', async () => {
    clients.ip('addr', 'add', '10.1.0.1/24', 'dev', 'eth1');
    servers.ip('addr', 'add', '10.1.0.10/24', 'dev', 'eth1');
    for (const netns of [clients, servers]) {
      netns.ip('link', 'set', 'eth1', 'up');
      netns.run(() => {
        writeFileSync('/proc/sys/net/ipv4/conf/eth1/rp_filter', '0');
      });
    }
    // The client sends by eth0, which is protected, and gets what the server sends by eth1.
    servers.ip('route', 'add', `${client.ipv4}/32`, 'via', '10.1.0.1');
    try {
      raise();
      using talker = new Talker(clients);
      expect(await talker.next()).toBe('open');
      expect(await talker.says('a')).toBe('echo a');
    } finally {
      servers.ip('route', 'del', `${client.ipv4}/32`, 'via', '10.1.0.1');
    }
  });

  it('a host that forgot a connection still says so, within the budget', async () => {
    const echo = await new Promise<Awaited<ReturnType<typeof listen>>>((resolve, reject) => {
      const script = ECHO.replace('80', '82');
      const process_ = servers.spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
      once(process_.stdout!, 'data').then(() => resolve(process_), reject);
    });
    using talker = new Talker(clients, server.ipv4, 82);
    expect(await talker.next()).toBe('open');
    // What a dying host says gets lost.
    {
      using _silence = nft(
        servers,
        'table ip f { chain o { type filter hook output priority 0; tcp sport 82 drop; }; }',
      );
      echo.kill('SIGKILL');
      await once(echo, 'exit');
      servers.run(() => spawnSync('ss', ['-K', 'sport', '=', ':82']));
    }
    guard = servers.run(() => protect(LAB_INTERFACE, { ...strict, limits: { strays: { rate: '10/s', burst: 20 } } }));
    expect(await talker.says('a')).toBe('ECONNRESET');
  });

  it('connections whose addresses are translated go on: hidden, redirected and forwarded ones', async () => {
    servers.run(() => {
      writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
    });
    using _rules = nft(
      servers,
      `table ip n {
         chain pre { type nat hook prerouting priority -100; iifname "eth0" tcp dport 8080 redirect to :80; iifname "eth0" tcp dport 8081 dnat to 172.20.0.2:80; }
         chain post { type nat hook postrouting priority 100; oifname "eth0" masquerade; }
       }`,
    );
    raise();
    for (const [from, host, port] of [
      [inner, client.ipv4, 80],
      [clients, server.ipv4, 8080],
      [clients, server.ipv4, 8081],
    ] as const) {
      using talker = new Talker(from, host, port);
      expect(await talker.next()).toBe('open');
      expect(await talker.says('a')).toBe('echo a');
    }
  });

  it('a flood of ACKs draws no more RSTs than the budget allows, and connections go on', async () => {
    guard = servers.run(() => protect(LAB_INTERFACE, { state: 'auto' }));
    using old = new Talker(clients);
    expect(await old.next()).toBe('open');
    const before = resetsSent(servers);
    const { received } = flood({ rate: 100_000, sources: 'random', kind: 'ack', seconds: 2, lab: LAB });
    expect(received).toBeGreaterThan(20_000);
    // Two seconds' budget, the burst, and what came before it was noticed.
    expect(resetsSent(servers) - before).toBeLessThan(received / 4);
    expect(await old.says('a')).toBe('echo a');
    using fresh = new Talker(clients);
    expect(await fresh.next()).toBe('open');
    expect(await fresh.says('b')).toBe('echo b');
  });
});
