import { writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Netns } from '../../lab/netns.ts';
import { Program, XDP, XdpLink, xdp } from '../../src/ebpf/index.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { Running } from '../support/cli.ts';

/** Hosts on one segment: a client, the host that runs the example, and two servers behind it. */
const ADDRESSES = { client: '10.7.0.1', host: '10.7.0.2', one: '10.7.0.11', two: '10.7.0.12' } as const;
type Host = keyof typeof ADDRESSES;
const HOSTS = Object.keys(ADDRESSES) as Host[];
const VIRTUAL = '10.7.0.100';
const INTERFACE = 'eth0';
const bridge = new Netns('seawall-ex-bridge');
/** A host that only a second interface of the host leads to. */
const far = new Netns('seawall-ex-far');
const netns = Object.fromEntries(HOSTS.map((name) => [name, new Netns(`seawall-ex-${name}`)])) as Record<Host, Netns>;
const directory = mkdtempSync(join(tmpdir(), 'seawall-examples-'));

/** Runs a command on a host to its end. */
function on(host: Host, command: string, ...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return netns[host].run(() => spawnSync(command, args, { encoding: 'utf8', timeout: 20_000 }));
}

const start = (host: Host, ...args: string[]): Running => netns[host].run(() => new Running(process.execPath, args));
const script = (host: Host, text: string): Running => start(host, '-e', text);
const example = (name: string, ...args: string[]): Running =>
  start('host', '--enable-source-maps', `dist/examples/${name}.js`, INTERFACE, ...args);
const mac = (host: Host): string => /link\/ether (\S+)/.exec(netns[host].ip('link', 'show', INTERFACE))![1]!;

const peer: Disposable[] = [];

function down(): void {
  for (const one of [...Object.values(netns), bridge, far]) one.remove();
}

/** Sends a packet to the host for each port, and waits until all are away. */
function sendUdp(...ports: number[]): void {
  const text = `const s = require('node:dgram').createSocket('udp4');
    const ports = ${JSON.stringify(ports)};
    let left = ports.length;
    for (const port of ports) s.send('x', port, '${ADDRESSES.host}', () => { if (--left === 0) s.close(); });`;
  expect(on('client', process.execPath, '-e', text).status).toBe(0);
}

describeAsRoot('examples', () => {
  beforeAll(() => {
    down();
    bridge.create();
    bridge.ip('link', 'add', 'br0', 'type', 'bridge');
    bridge.ip('link', 'set', 'br0', 'up');
    for (const name of HOSTS) {
      const there = netns[name];
      there.create();
      bridge.ip('link', 'add', name, 'type', 'veth', 'peer', INTERFACE, 'netns', there.name);
      // Frames that XDP forwards have no checksum left for the hardware to fill in.
      on(name, 'ethtool', '-K', INTERFACE, 'tx', 'off');
      bridge.ip('link', 'set', name, 'master', 'br0', 'up');
      there.ip('address', 'add', `${ADDRESSES[name]}/24`, 'dev', INTERFACE);
      there.ip('link', 'set', INTERFACE, 'up');
    }
    // A veth takes in what its peer sends with XDP_TX only while it has a program itself.
    const passing = Program.load(xdp('passing', () => XDP.PASS));
    peer.push(
      passing,
      bridge.run(() => XdpLink.attach(passing, 'host')),
    );
  });
  afterAll(() => {
    for (const held of peer) held[Symbol.dispose]();
    down();
    rmSync(directory, { recursive: true });
  });

  it('icmp-echo answers pings that the kernel does not', async () => {
    on('host', 'sysctl', '-qw', 'net.ipv4.icmp_echo_ignore_all=1');
    const ping = (): number | null => on('client', 'ping', '-c', '3', '-i', '0.1', '-W', '1', ADDRESSES.host).status;
    expect(ping()).not.toBe(0);
    await using running = example('icmp-echo');
    await running.until(/answering in native mode/);
    expect(ping()).toBe(0);
    expect(await running.stop()).toBe(0);
    expect(running.output).toContain('3 pings answered');
    on('host', 'sysctl', '-qw', 'net.ipv4.icmp_echo_ignore_all=0');
  });

  it('dns-filter drops queries for listed names, in any case, and no others', async () => {
    await using server = script(
      'host',
      `const s = require('node:dgram').createSocket('udp4');
       s.on('message', (query, from) => {
         const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 192, 0, 2, 7]);
         query[2] |= 0x80; query[7] = 1;
         s.send(Buffer.concat([query, answer]), from.port, from.address);
       });
       s.bind(53, () => console.log('listening'));`,
    );
    await server.until(/listening/);
    const resolve = (name: string): string =>
      on(
        'client',
        process.execPath,
        '-e',
        `const r = new (require('node:dns').Resolver)({ timeout: 300, tries: 1 });
         r.setServers(['${ADDRESSES.host}']);
         r.resolve4('${name}', (error, found) => console.log(error ? error.code : found[0]));`,
      ).stdout.trim();
    await using running = example('dns-filter', 'bad.example', 'worse.example');
    await running.until(/filtering in native mode/);
    expect(['good.example', 'bad.example', 'BAD.Example', 'not.bad.example', 'bad.example.org'].map(resolve)).toEqual([
      '192.0.2.7',
      'ETIMEOUT',
      'ETIMEOUT',
      '192.0.2.7',
      '192.0.2.7',
    ]);
    expect(await running.stop()).toBe(0);
    expect(running.output).toMatch(/^bad\.example: 2 queries dropped$/m);
    expect(running.output).toMatch(/^worse\.example: 0 queries dropped$/m);
  });

  it('udp-limit lets a burst through and tells of the rest', async () => {
    await using running = example('udp-limit', '1');
    await running.until(/limiting in native mode/);
    sendUdp(...Array<number>(30).fill(9));
    await running.until(/(dropped 10\.7\.0\.1 to port 9\n){10,}/);
    expect(await running.stop()).toBe(0);
    const dropped = running.output.match(/^dropped 10\.7\.0\.1 to port 9$/gm)!;
    expect(dropped.length).toBeLessThanOrEqual(20);
  });

  it('tail-calls counts each protocol in a program of its own', async () => {
    const ping = (): number | null => on('client', 'ping', '-c', '2', '-i', '0.1', '-W', '1', ADDRESSES.host).status;
    await using running = example('tail-calls', 'drop-icmp');
    await running.until(/dispatching in native mode/);
    expect(ping()).not.toBe(0);
    sendUdp(9, 9, 9);
    expect(await running.stop()).toBe(0);
    expect(running.output).toMatch(/^UDP: 3 packets$/m);
    expect(running.output).toMatch(/^ICMP: 2 packets$/m);
  });

  it('tc-bytes counts both directions', async () => {
    await using running = example('tc-bytes');
    await running.until(/counting on interface/);
    expect(on('client', 'ping', '-c', '2', '-i', '0.1', '-s', '1000', '-W', '1', ADDRESSES.host).status).toBe(0);
    expect(await running.stop()).toBe(0);
    for (const direction of ['ingress', 'egress']) {
      const [, packets, size] = new RegExp(`${direction}: (\\d+) packets, (\\d+) bytes`).exec(running.output)!;
      expect(Number(packets)).toBeGreaterThanOrEqual(2);
      expect(Number(size)).toBeGreaterThanOrEqual(2 * 1042);
    }
  });

  it('wire joins two interfaces', async () => {
    const address = '10.7.0.21';
    far.create();
    netns.host.ip('link', 'add', 'eth1', 'type', 'veth', 'peer', INTERFACE, 'netns', far.name);
    netns.host.ip('link', 'set', 'eth1', 'up');
    far.ip('address', 'add', `${address}/24`, 'dev', INTERFACE);
    far.ip('link', 'set', INTERFACE, 'up');
    using passing = Program.load(xdp('passing', () => XDP.PASS));
    using _there = far.run(() => XdpLink.attach(passing, INTERFACE));
    const ping = (...args: string[]): number | null => on('client', 'ping', ...args, address).status;
    expect(ping('-c', '1', '-W', '0.3')).not.toBe(0);
    await using running = example('wire', 'eth1');
    await running.until(/eth0 and eth1 joined in native and native mode/);
    expect(ping('-c', '3', '-i', '0.1', '-W', '1')).toBe(0);
    expect(await running.stop()).toBe(0);
    const [, frames] = /^(\d+) frames received$/m.exec(running.output)!;
    expect(Number(frames)).toBeGreaterThanOrEqual(6);
  });

  it('load-balancer names in one line what is wrong with its list, and keeps the one that it has', async () => {
    const list = join(directory, 'wrong.txt');
    const refused = (): string => {
      const { status, stderr } = on(
        'host',
        process.execPath,
        'dist/examples/load-balancer.js',
        INTERFACE,
        VIRTUAL,
        '80',
        list,
      );
      expect(status).toBe(1);
      return stderr;
    };
    expect(refused()).toMatch(/^ENOENT: .*wrong\.txt'\n$/);
    writeFileSync(list, '02:00:00:00:00:01\n\n02:00:00:zz:00:02\n');
    expect(refused()).toBe(`${list}:3: no MAC address: "02:00:00:zz:00:02"\n`);
    writeFileSync(list, '02:00:00:00:00:01\r\n');
    await using running = example('load-balancer', VIRTUAL, '80', list);
    await running.until(/^1 back ends\n.*balancing/m);
    writeFileSync(list, '02:00:00:00:00:01 # one\n');
    process.kill(running.pid, 'SIGHUP');
    await running.until(/wrong\.txt:1: no MAC address: "02:00:00:00:00:01 # one"; the back ends stay as they are\n/);
    rmSync(list);
    process.kill(running.pid, 'SIGHUP');
    await running.until(/ENOENT: .*; the back ends stay as they are\n/);
    expect(await running.stop()).toBe(0);
  });

  it('load-balancer spreads connections over two back ends, and one that leaves takes only its own with it', async () => {
    const backends = ['one', 'two'] as const;
    on('client', 'sysctl', '-qw', 'net.ipv4.tcp_max_tw_buckets=0'); // ports are used again at once
    netns.host.ip('address', 'add', `${VIRTUAL}/32`, 'dev', INTERFACE);
    for (const name of backends) {
      netns[name].ip('address', 'add', `${VIRTUAL}/32`, 'dev', 'lo');
      on(name, 'sysctl', '-qw', 'net.ipv4.conf.all.arp_ignore=1', 'net.ipv4.conf.all.arp_announce=2');
    }
    const serve = (name: Host): Running =>
      script(
        name,
        `require('node:http').createServer((_, r) => r.end('${name}')).listen(80, () => console.log('listening'))`,
      );
    await using one = serve('one');
    await using two = serve('two');
    for (const server of [one, two]) await server.until(/listening/);
    /** Who answers a connection from each of these ports. */
    const ask = (): string[] =>
      Array.from(
        { length: 16 },
        (_, index) =>
          on('client', 'curl', '-s', '-m', '3', '--local-port', String(40_000 + index), `http://${VIRTUAL}/`).stdout,
      );
    const list = join(directory, 'backends.txt');
    writeFileSync(list, `${mac('one')}\n${mac('two')}\n`);
    await using running = example('load-balancer', VIRTUAL, '80', list);
    await running.until(/balancing in native mode/);
    const before = ask();
    expect(new Set(before)).toEqual(new Set(backends));

    writeFileSync(list, `${mac('one')}\n`);
    process.kill(running.pid, 'SIGHUP');
    await running.until(/^1 back ends$/m);
    expect(new Set(ask())).toEqual(new Set(['one']));

    writeFileSync(list, `${mac('two')}\n${mac('one')}\n`);
    process.kill(running.pid, 'SIGHUP');
    await running.until(/1 back ends\n2 back ends/);
    expect(ask()).toEqual(before);
    expect(await running.stop()).toBe(0);
    expect(running.output).toMatch(/^\d{3,} packets forwarded$/m);
  });
});
