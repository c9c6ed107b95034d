/** A client takes its port again while the server still has the connection before in TIME-WAIT. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { client, LAB_INTERFACE, labDown, labUp, namespaceOf, server } from '../../lab/topology.ts';
import { formFeature } from '../../src/engine/challenger.ts';
import { protect, type ProtectedInterface } from '../../src/index.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { Running } from '../support/cli.ts';

const LAB = 'seawall-time-wait';
const clients = namespaceOf(client, LAB);
const behind = namespaceOf(server, LAB);
const FORMS = (['assign', 'kernel', 'reset'] as const).filter((form) => formFeature(form)?.available ?? true);
/** Who speaks first, by port. The server always closes first, so that it has the TIME-WAIT. */
const PORTS = { client: 80, server: 81 } as const;

const SERVER = `
import select, socket
def listener(port):
    s = socket.socket(socket.AF_INET6)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(('::', port))
    s.listen(100)
    return s
waits, speaks = listener(80), listener(81)
print('listening', flush=True)
while True:
    for s in select.select([waits, speaks], [], [])[0]:
        c, _ = s.accept()
        if s is waits: c.recv(100)
        c.sendall(b'hello')
        c.shutdown(socket.SHUT_WR)
        while c.recv(100): pass
        c.close()`;

/** Connects twice from one port, the second time when it is told, and prints what came. */
const TWICE = `
import signal, socket, sys
address, port, local = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
def ask():
    s = socket.create_connection((address, port), 20, ('', local))
    s.settimeout(float(sys.argv[4]))
    if port == 80: s.sendall(b'please')
    data = b''
    while True:
        part = s.recv(100)
        if not part: break
        data += part
    s.close()
    return data.decode()
print(ask(), flush=True)
signal.sigwait({signal.SIGUSR1})
print(ask())`;

const sysctl = (name: string, value: string): void => {
  behind.run(() => {
    writeFileSync(`/proc/sys/net/ipv4/${name}`, value);
  });
};
/** Connections in TIME-WAIT that came from this port. */
const timeWaits = (port: number): number =>
  behind
    .run(() => spawnSync('ss', ['-Htan', 'state', 'time-wait', 'dport', '=', `:${String(port)}`], { encoding: 'utf8' }))
    .stdout.split('\n').length - 1;
const segmentsIn = (): number =>
  behind.run(() => {
    const [names, values] = readFileSync('/proc/net/snmp', 'utf8').match(/^Tcp:.*/gm)! as [string, string];
    return Number(values.split(' ')[names.split(' ').indexOf('InSegs')]);
  });

describeAsRoot('a port that is taken again within TIME-WAIT', () => {
  let listeners: Running;
  let protection: ProtectedInterface;
  let local = 20_000;
  const guard = (form: (typeof FORMS)[number], mode: 'native' | 'generic'): void => {
    protection = behind.run(() => protect(LAB_INTERFACE, { challenge: { mode: 'always', form } }, { mode }));
  };
  /** Connects, and again when `between` has run. What came. */
  const twice = async (address: string, port: number, between: () => void, patience = 20): Promise<string> => {
    local++;
    const args = ['python3', '-c', TWICE, address, String(port), String(local), String(patience)];
    await using page = new Running('nsenter', [`--net=${clients.path}`, ...args]);
    await page.until(/hello/);
    between();
    page.signal('SIGUSR1');
    await page.ended();
    return page.output;
  };
  beforeAll(async () => {
    labDown(LAB);
    labUp(LAB);
    listeners = new Running('nsenter', [`--net=${behind.path}`, 'python3', '-c', SERVER]);
    await listeners.until(/listening/);
  });
  afterAll(async () => {
    await listeners.stop('SIGKILL');
    labDown(LAB);
  });

  describe.each(FORMS.flatMap((form) => (['native', 'generic'] as const).map((mode) => [form, mode] as const)))(
    'challenged in the form %s, in %s mode',
    (form, mode) => {
      beforeAll(() => {
        sysctl('tcp_syncookies', '2');
        guard(form, mode);
      });
      afterAll(() => {
        protection[Symbol.dispose]();
      });

      it.each(
        ['10.0.0.10', 'fd00::10'].flatMap((address) =>
          (['client', 'server'] as const).map((first) => [address, first] as const),
        ),
      )('connects again to %s where the %s speaks first', async (address, first) => {
        let challenged = 0n;
        const output = await twice(address, PORTS[first], () => {
          expect(timeWaits(local)).toBe(1);
          // The second connection is challenged like the first.
          protection.forgetVerified();
          ({ challenged } = protection.stats().reasons);
        });
        expect(output).toBe('hello\nhello\n');
        expect(protection.stats().reasons.challenged).toBe(challenged + 1n);
        expect(timeWaits(local)).toBe(1);
      });
    },
  );

  it('starts no storm where the host keeps its TIME-WAIT (rfc1337)', async () => {
    sysctl('tcp_rfc1337', '1');
    guard(FORMS[0]!, 'native');
    let before = 0;
    const output = await twice(
      '10.0.0.10',
      PORTS.client,
      () => {
        protection.forgetVerified();
        before = segmentsIn();
      },
      1,
    );
    expect(output).toMatch(/TimeoutError/);
    expect(segmentsIn() - before).toBeLessThan(50);
    protection[Symbol.dispose]();
    sysctl('tcp_rfc1337', '0');
  });
});
