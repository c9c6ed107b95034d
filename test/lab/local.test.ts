/** Only what is for this host is answered: link-layer and IP addresses, as Linux looks at them. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { client, LAB_INTERFACE, labDown, labUp, namespaceOf, server } from '../../lab/topology.ts';
import { protect, type ProtectedInterface } from '../../src/index.ts';
import { ethernet, frame, ipv4, ipv6, tcp } from '../../src/net/build.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { Running } from '../support/cli.ts';

const LAB = 'seawall-local';
const clients = namespaceOf(client, LAB);
const behind = namespaceOf(server, LAB);
/** Sends frames that are given in hex, each as it is. */
const SEND = `
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("${LAB_INTERFACE}", 0))
for data in sys.argv[1:]: s.send(bytes.fromhex(data))`;
const LISTENER = `require('node:net').createServer().listen(80, '::', () => console.log('listening'))`;

let ports = 1024;
interface Sent {
  readonly to?: string;
  readonly from?: string;
  readonly address?: string;
}
const syn = ({ to = server.mac, from = client.mac, address = server.ipv4 }: Sent): Buffer =>
  frame([
    ethernet({ dst: to, src: from }),
    address.includes(':') ? ipv6({ src: client.ipv6, dst: address }) : ipv4({ src: client.ipv4, dst: address }),
    tcp({ source: ports++, dest: 80, flags: ['SYN'], options: [{ kind: 'mss', size: 1460 }] }),
  ]);
const send = (...frames: readonly Buffer[]): void => {
  const words = frames.map((one) => one.toString('hex'));
  clients.run(() => spawnSync('python3', ['-c', SEND, ...words], { timeout: 10_000 }));
};
/** How many of the SYNs are answered: each has come through once all are judged. */
async function answers(protection: ProtectedInterface, ...sent: readonly Sent[]): Promise<number> {
  const count = (): { answered: number; judged: number } => {
    const { challenged, 'within-limit': within, verified } = protection.stats().reasons;
    return { answered: Number(challenged), judged: Number(challenged + within + verified) };
  };
  const before = count();
  send(...sent.map((one) => syn(one)));
  await expect.poll(() => count().judged - before.judged).toBe(sent.length);
  return count().answered - before.answered;
}
const always = (form: 'cookie' | 'reset'): ProtectedInterface =>
  behind.run(() =>
    protect(LAB_INTERFACE, {
      challenge: { mode: 'always', form },
      limits: { source: false, prefixes: [], service: false },
    }),
  );

describeAsRoot('who is answered', () => {
  let listener: Running;
  beforeAll(async () => {
    labDown(LAB);
    labUp(LAB);
    listener = new Running('nsenter', [`--net=${behind.path}`, process.execPath, '-e', LISTENER]);
    await listener.until(/listening/);
  });
  afterAll(async () => {
    await listener.stop('SIGKILL');
    labDown(LAB);
  });

  describe.each(['cookie', 'reset'] as const)('in the form %s', (form) => {
    it('a SYN to this host is', async () => {
      using protection = always(form);
      expect(await answers(protection, {}, { address: server.ipv6 })).toBe(2);
    });

    it.each<[string, Sent]>([
      ["another host's link-layer address", { to: '02:00:00:00:00:99' }],
      ['everybody on the link', { to: 'ff:ff:ff:ff:ff:ff' }],
      ['a group on the link', { to: '01:00:5e:00:00:01' }],
      ['an IPv4 group', { address: '224.0.0.1' }],
      ['everybody by IPv4', { address: '255.255.255.255' }],
      ['an IPv6 group', { address: 'ff02::1' }],
    ])('a SYN to %s is not', async (_what, sent) => {
      using protection = always(form);
      expect(await answers(protection, sent, sent)).toBe(0);
    });

    it('a SYN from a group is not', async () => {
      using protection = always(form);
      expect(await answers(protection, { from: 'ff:ff:ff:ff:ff:ff' }, { from: '01:00:00:00:00:01' })).toBe(0);
    });
  });

  it.each(['203.0.113.7', '2001:db8::7', '10.0.0.255'])(
    'a SYN to %s, which is not of this host, gets no cookie, though a listener fits',
    async (address) => {
      using protection = always('cookie');
      expect(await answers(protection, { address })).toBe(0);
    },
  );

  it('a router answers for forwarded addresses by reset, and by nothing else', async () => {
    behind.run(() => {
      writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
    });
    try {
      for (const [form, expected] of [
        ['cookie', 0],
        ['reset', 1],
      ] as const) {
        using protection = always(form);
        expect(await answers(protection, { address: '203.0.113.7' })).toBe(expected);
      }
    } finally {
      behind.run(() => {
        writeFileSync('/proc/sys/net/ipv4/ip_forward', '0');
      });
    }
  });

  it('addresses and link-layer addresses that come and go are followed', async () => {
    using protection = always('cookie');
    const answered = (sent: Sent): Promise<number> => answers(protection, sent);
    behind.ip('addr', 'add', '10.0.0.77/32', 'dev', LAB_INTERFACE);
    behind.ip('route', 'add', 'local', '198.51.100.0/24', 'dev', 'lo');
    behind.ip('link', 'add', 'link', LAB_INTERFACE, 'name', 'upper', 'address', '02:00:00:00:00:55', 'type', 'macvlan');
    try {
      // A look-up that found nobody is remembered for a moment.
      await expect.poll(() => answered({ address: '10.0.0.77' }), { timeout: 5000 }).toBe(1);
      expect(await answered({ address: '198.51.100.200' })).toBe(1);
      expect(await answered({ to: '02:00:00:00:00:55' })).toBe(1);
    } finally {
      behind.ip('addr', 'del', '10.0.0.77/32', 'dev', LAB_INTERFACE);
      behind.ip('route', 'del', 'local', '198.51.100.0/24', 'dev', 'lo');
      behind.ip('link', 'del', 'upper');
    }
    await expect.poll(() => answered({ address: '10.0.0.77' }), { timeout: 5000 }).toBe(0);
    expect(await answered({ to: '02:00:00:00:00:55' })).toBe(0);
  });
});
