/** Listeners of all kinds under challenges: Multipath TCP, signed segments, buffers that were set. */
import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Netns } from '../../lab/netns.ts';
import { client, LAB_INTERFACE, labDown, labUp, namespaceOf, server } from '../../lab/topology.ts';
import { formFeature } from '../../src/engine/challenger.ts';
import { type PolicyInput, protect, type ProtectedInterface } from '../../src/index.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { Running } from '../support/cli.ts';

const LAB = 'seawall-listeners';
const clients = namespaceOf(client, LAB);
const behind = namespaceOf(server, LAB);
const MPTCP = 262;
const BIG = 20_000_000;

/**
 * A server that answers each connection with what it read until the client was done, by its length; `options` are set before it listens.
 * TCP_MD5SIG (14) takes a `struct tcp_md5sig`.
 */
const SERVER = `
import socket, struct, sys, threading
protocol, key, buffer = int(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3])
def md5(s, peer, key):
    s.setsockopt(socket.IPPROTO_TCP, 14, struct.pack("=HH4s120xBBHi80s", socket.AF_INET, 0, socket.inet_aton(peer), 0, 0, len(key), 0, key))
s = socket.socket(socket.AF_INET if key else socket.AF_INET6, socket.SOCK_STREAM, protocol)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if buffer: s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
if key: md5(s, "10.0.0.1", key)
s.bind(("0.0.0.0" if key else "::", 80)); s.listen(64)
print("listening", flush=True)
def serve(c):
    total = 0
    while True:
        part = c.recv(65536)
        if not part: break
        total += len(part)
    c.sendall(str(total).encode()); c.close()
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()`;

const CLIENT = `
import socket, struct, sys, time
protocol, key, size, address = int(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3]), sys.argv[4]
s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, protocol)
s.settimeout(8)
if key: s.setsockopt(socket.IPPROTO_TCP, 14, struct.pack("=HH4s120xBBHi80s", socket.AF_INET, 0, socket.inet_aton("10.0.0.10"), 0, 0, len(key), 0, key))
start = time.monotonic()
s.connect((address, 80))
s.sendall(b"x" * size); s.shutdown(socket.SHUT_WR)
got = s.recv(100)
print(got.decode(), time.monotonic() - start)`;

/** What the server offered to a client that has just connected, as `ss` tells it. */
const HOLD = `
import socket, subprocess
s = socket.create_connection(("10.0.0.10", 80), 5)
print(subprocess.run(["ss", "-tinH", "dport", "=", ":80"], capture_output=True, text=True).stdout)`;

interface Kind {
  readonly protocol?: number;
  readonly key?: string;
  readonly buffer?: number;
}
const listen = async ({ protocol = 6, key = '', buffer = 0 }: Kind): Promise<Running> => {
  const words = [String(protocol), key, String(buffer)];
  const running = new Running('nsenter', [`--net=${behind.path}`, 'python3', '-c', SERVER, ...words]);
  await running.until(/listening/);
  return running;
};
const exchange = (
  { protocol = 6, key = '' }: Kind,
  size = 1000,
  address = '10.0.0.10',
): { readonly got: string; readonly seconds: number } => {
  const words = [String(protocol), key, String(size), address];
  const { stdout } = within(clients, 'python3', '-c', CLIENT, ...words);
  const [got = '', seconds = '0'] = stdout.trim().split(' ');
  return { got, seconds: Number(seconds) };
};
const within = (netns: Netns, command: string, ...args: string[]) =>
  netns.run(() => spawnSync(command, args, { encoding: 'utf8', timeout: 30_000 }));
const guard = (policy: PolicyInput): ProtectedInterface => behind.run(() => protect(LAB_INTERFACE, policy));
const always = (form: 'cookie' | 'assign' | 'reset' | 'kernel' = 'cookie'): PolicyInput => ({
  challenge: { mode: 'always', form },
});
const assigns = formFeature('assign')?.available ?? false;

describeAsRoot('listeners of every kind, always challenged', () => {
  beforeAll(() => {
    labDown(LAB);
    labUp(LAB);
  });
  afterAll(() => {
    labDown(LAB);
  });

  it.runIf(assigns)('for Multipath TCP are challenged by reset', async () => {
    await using _listener = await listen({ protocol: MPTCP });
    using protection = guard(always());
    for (const address of ['10.0.0.10', 'fd00::10']) {
      for (const protocol of [MPTCP, 6]) {
        protection.forgetVerified();
        expect(exchange({ protocol }, 1000, address).got).toBe('1000');
      }
    }
    expect(protection.stats().reasons).toMatchObject({ challenged: 4n, proof: 4n, verified: 4n });
  });

  it.runIf(assigns)('for Multipath TCP are left to the limits where assign is asked for by name', async () => {
    await using _listener = await listen({ protocol: MPTCP });
    using protection = guard(always('assign'));
    expect(exchange({ protocol: MPTCP }).got).toBe('1000');
    expect(protection.stats().reasons).toMatchObject({ challenged: 0n, 'within-limit': 1n });
  });

  it.runIf(assigns)(
    'for Multipath TCP are left to the limits by assign beside a service that leaves the form open',
    async () => {
      await using _listener = await listen({ protocol: MPTCP });
      const services = [
        { name: 'named', ports: [80], form: 'assign' as const },
        { name: 'open', ports: [81] },
      ];
      using protection = guard({ challenge: { mode: 'always' }, services });
      expect(exchange({ protocol: MPTCP }).got).toBe('1000');
      expect(protection.stats().reasons).toMatchObject({ challenged: 0n, 'within-limit': 1n });
    },
  );

  it.runIf(assigns)(
    'with keys for signed segments are left to the limits for who signs, and for no one else',
    async () => {
      await using _listener = await listen({ key: 'secret' });
      using protection = guard(always());
      expect(exchange({ key: 'secret' }).got).toBe('1000');
      expect(protection.stats().reasons).toMatchObject({ challenged: 0n, 'within-limit': 1n });
      // A plain SYN is challenged; the host takes no unsigned segment of this peer all the same.
      expect(exchange({}).got).toBe('');
      expect(protection.stats().reasons.challenged).toBeGreaterThan(0n);
    },
  );

  it.runIf(assigns)('without keys challenge a SYN that is signed: the option is no way around', async () => {
    await using _listener = await listen({});
    using protection = guard(always());
    exchange({ key: 'secret' });
    expect(protection.stats().reasons['within-limit']).toBe(0n);
    expect(protection.stats().reasons.challenged).toBeGreaterThan(0n);
  });

  it.runIf(assigns).each([0, 2048, 16_384, 65_536, 1_000_000])(
    'with a buffer of %i bytes offer what Linux offers',
    async (buffer) => {
      await using _listener = await listen({ buffer });
      const offered = (): { readonly scale: number; readonly window: number } => {
        const { stdout } = within(clients, 'python3', '-c', HOLD);
        const number = (name: RegExp): number => Number(name.exec(stdout)![1]);
        return { scale: number(/wscale:(\d+),/), window: number(/snd_wnd:(\d+)/) };
      };
      const bare = offered();
      using protection = guard(always());
      const { scale, window } = offered();
      expect(protection.stats().reasons.challenged).toBe(1n);
      expect(scale).toBe(bare.scale);
      // Linux offers whole segments only, whose size differs from client to client.
      expect(Math.abs(window - bare.window)).toBeLessThan(1460);
    },
  );

  it.runIf(assigns).each([16_384, 1_000_000])('with a buffer of %i bytes take 20 MB as fast', async (buffer) => {
    await using _listener = await listen({ buffer });
    // XDP itself takes segmentation offload from a veth pair; what is compared is the connection by cookie.
    using protection = guard(always());
    const upload = (mode: 'off' | 'always'): number => {
      behind.run(() => {
        protection.update({ challenge: { mode } });
      });
      protection.forgetVerified();
      const { challenged } = protection.stats().reasons;
      const { got, seconds } = exchange({}, BIG);
      expect(got).toBe(String(BIG));
      expect(protection.stats().reasons.challenged - challenged).toBe(mode === 'off' ? 0n : 1n);
      return seconds;
    };
    const ratios = Array.from({ length: 5 }, () => upload('always') / upload('off'));
    const [, , median] = ratios.toSorted((a, b) => a - b);
    expect(median).toBeLessThan(1.3);
  });
});
