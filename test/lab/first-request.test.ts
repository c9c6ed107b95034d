/** A client that writes at once: its ACK and its first request may reach the host in one batch, before the first has become a socket. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Netns } from '../../lab/netns.ts';
import { setInterface } from '../../lab/placement.ts';
import { client, LAB_INTERFACE, labDown, labUp, namespaceOf, POOL, server } from '../../lab/topology.ts';
import { protect, type ProtectedInterface } from '../../src/index.ts';
import { formFeature } from '../../src/engine/challenger.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { Running } from '../support/cli.ts';

const LAB = 'seawall-first';
const clients = namespaceOf(client, LAB);
const behind = namespaceOf(server, LAB);

/** Answers each connection with what it sends first. With an argument its sockets poll the device. */
const ECHO = `
import socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('', int(sys.argv[1])))
if len(sys.argv) > 2: s.setsockopt(socket.SOL_SOCKET, 46, 200) # SO_BUSY_POLL, microseconds
s.listen(4096)
print('listening', flush=True)
while True:
    c, _ = s.accept()
    c.sendall(c.recv(100))
    c.close()`;

/** A listener with a short accept queue, which it leaves full until it is told. */
const SLOW = `
import signal, socket
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('', 82))
s.listen(1)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
print('listening', flush=True)
signal.sigwait({signal.SIGUSR1})
while True:
    c, _ = s.accept()
    c.sendall(c.recv(100))
    c.close()`;

/** Eight connections at once. Prints how many got their answer. */
const CROWD = `
import socket
crowd = []
for last in range(${String(POOL.first)}, ${String(POOL.first + 8)}):
    s = socket.socket()
    s.settimeout(20)
    s.bind(('10.0.0.%d' % last, 0))
    s.connect(('10.0.0.10', 82))
    s.sendall(b'hello')
    crowd.append(s)
print('connected', flush=True)
print('answered', sum(s.recv(100) == b'hello' for s in crowd))`;

/** One connection from each address of the pool; each writes as soon as it is connected. Prints how many got their answer. */
const CLIENTS = `
import socket, sys
answered = 0
for last in range(${String(POOL.first)}, ${String(POOL.first + POOL.size)}):
    s = socket.socket()
    s.settimeout(8)
    s.bind(('10.0.0.%d' % last, 0))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.connect(('10.0.0.10', int(sys.argv[1])))
    s.sendall(b'hello')
    if s.recv(100) == b'hello': answered += 1
    s.close()
print(answered)`;

/** Connections from one address, one after the other, more than its wide limit holds. Prints how many got their answer. */
const OFFICE = `
import socket
answered = 0
for _ in range(1500):
    s = socket.socket()
    s.settimeout(8)
    s.bind(('10.0.0.${String(POOL.first)}', 0))
    s.connect(('10.0.0.10', 80))
    s.sendall(b'hello')
    if s.recv(100) == b'hello': answered += 1
    s.close()
print(answered)`;

/** A counter of /proc/net/snmp's TCP line. */
function tcpCounter(netns: Netns, name: string): number {
  const [names, values] = netns
    .run(() => readFileSync('/proc/thread-self/net/snmp', 'utf8'))
    .split('\n')
    .filter((line) => line.startsWith('Tcp:'))
    .map((line) => line.split(' ')) as [string[], string[]];
  return Number(values[names.indexOf(name)]);
}

/** How the host takes packets from its interface: in the softirq, later by a timer, in a thread, or polled by the process that reads. */
const MODES: readonly (readonly [string, number, Readonly<Record<string, string>>])[] = [
  ['softirq', 80, {}],
  // Batches are large: nothing is taken for two milliseconds.
  ['deferred', 80, { napi_defer_hard_irqs: '100', gro_flush_timeout: '2000000' }],
  ['threaded', 80, { threaded: '1', napi_defer_hard_irqs: '0', gro_flush_timeout: '0' }],
  ['busy polling', 81, { threaded: '0', napi_defer_hard_irqs: '100', gro_flush_timeout: '2000000' }],
];

(formFeature('assign')?.available === false ? describe.skip : describeAsRoot)('the first request', () => {
  const servers: Running[] = [];
  let protection: ProtectedInterface;
  beforeAll(async () => {
    labDown(LAB);
    labUp(LAB);
    behind.run(() => execFileSync('ethtool', ['-K', LAB_INTERFACE, 'tx', 'off', 'gro', 'on'], { stdio: 'ignore' }));
    for (const args of [['80'], ['81', 'polling']]) {
      const echo = new Running('nsenter', [`--net=${behind.path}`, 'python3', '-c', ECHO, ...args]);
      servers.push(echo);
      await echo.until(/listening/);
    }
    protection = behind.run(() => protect(LAB_INTERFACE, { challenge: { mode: 'always' } }));
  });
  afterAll(async () => {
    protection[Symbol.dispose]();
    for (const echo of servers) await echo.stop('SIGKILL');
    labDown(LAB);
  });

  it.each(MODES)('of a challenged connection is never lost, and opens no second one: %s', (_mode, port, files) => {
    for (const [file, value] of Object.entries(files)) setInterface(behind, file, value);
    protection.forgetVerified();
    const before = [tcpCounter(behind, 'PassiveOpens'), tcpCounter(clients, 'RetransSegs')];
    const { challenged } = protection.stats().reasons;
    const { stdout } = clients.run(() =>
      spawnSync('python3', ['-c', CLIENTS, String(port)], { encoding: 'utf8', timeout: 100_000 }),
    );
    expect(Number(stdout)).toBe(POOL.size);
    expect(protection.stats().reasons.challenged - challenged).toBeGreaterThanOrEqual(POOL.size);
    const after = [tcpCounter(behind, 'PassiveOpens'), tcpCounter(clients, 'RetransSegs')];
    expect(after.map((count, index) => count - before[index]!)).toEqual([POOL.size, 0]);
  });

  it('is not held up for an address that opens more than its wide limit, while its service has enough', () => {
    setInterface(behind, 'threaded', '0');
    setInterface(behind, 'napi_defer_hard_irqs', '0');
    setInterface(behind, 'gro_flush_timeout', '0');
    protection.forgetVerified();
    const before = [tcpCounter(clients, 'RetransSegs'), Number(protection.stats().reasons.challenged)];
    const { stdout } = clients.run(() => spawnSync('python3', ['-c', OFFICE], { encoding: 'utf8', timeout: 100_000 }));
    expect(Number(stdout)).toBe(1500);
    const after = [tcpCounter(clients, 'RetransSegs'), Number(protection.stats().reasons.challenged)];
    // The first SYN is challenged, and no other.
    expect(after.map((count, index) => count - before[index]!)).toEqual([0, 1]);
  });

  it('and its ACK wait while the accept queue is full', async () => {
    await using slow = new Running('nsenter', [`--net=${behind.path}`, 'python3', '-c', SLOW]);
    await slow.until(/listening/);
    protection.forgetVerified();
    await using crowd = new Running('nsenter', [`--net=${clients.path}`, 'python3', '-c', CROWD]);
    await crowd.until(/connected/);
    await expect.poll(() => protection.stats().reasons['accept-queue'], { timeout: 20_000 }).toBeGreaterThan(0);
    process.kill(slow.pid, 'SIGUSR1');
    await crowd.until(/answered 8/);
  });
});
