/** Real clients through each form of challenge, and a stranger's opinion of the answers. */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Netns } from '../../lab/netns.ts';
import { client, LAB_INTERFACE, labDown, labUp, namespaceOf, server } from '../../lab/topology.ts';
import { Program, TC, tc, TcLink } from '../../src/ebpf/index.ts';
import { formFeature } from '../../src/engine/challenger.ts';
import { type PolicyInput, protect, type ProtectedInterface } from '../../src/index.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { Running } from '../support/cli.ts';

const LAB = 'seawall-challenge';
const clients = namespaceOf(client, LAB);
const behind = namespaceOf(server, LAB);
const inner = new Netns(`${LAB}-inner`);
const BIG = 20_000_000;
const FORMS = (['assign', 'kernel', 'reset'] as const).filter((form) => formFeature(form)?.available ?? true);

const SERVER = `
const { createServer } = require('node:http'), { createHash } = require('node:crypto');
const big = Buffer.alloc(${String(BIG)}, 'the same again ');
createServer((request, response) => {
  if (request.method === 'PUT') {
    const hash = createHash('sha256');
    request.on('data', (chunk) => hash.update(chunk)).on('end', () => response.end(hash.digest('hex')));
  } else response.end(request.url === '/big' ? big : 'hello\\n');
}).listen(80, '::', () => console.log('listening'));`;

const PYTHON = `
import socket, sys
s = socket.create_connection((sys.argv[1], 80), 5)
s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
data = b""
while True:
    part = s.recv(4096)
    if not part: break
    data += part
print(data.decode().splitlines()[-1])`;

const NODE = `require('node:http').get(process.argv[1], (r) => r.on('data', (d) => process.stdout.write(d)))`;

interface Ran {
  readonly status: number | null;
  readonly stdout: string;
}
const run = (netns: Netns, command: string, ...args: string[]): Ran =>
  netns.run(() => spawnSync(command, args, { encoding: 'utf8', timeout: 20_000, maxBuffer: 2 * BIG }));
const curl = (url: string, ...more: string[]): Ran => run(clients, 'curl', '-s', '-g', '-m', '8', ...more, url);
const hello = { status: 0, stdout: 'hello\n' };
const guard = (policy: PolicyInput): ProtectedInterface => behind.run(() => protect(LAB_INTERFACE, policy));
const always = (form: (typeof FORMS)[number]): PolicyInput => ({
  challenge: { mode: 'always', form, 'set-sysctls': true },
});
/** The host's timestamps as they are leave the form `kernel` nothing but the MSS to answer with. */
const mssAlone: PolicyInput = { challenge: { mode: 'always', form: 'kernel' } };
const VARIANTS: readonly (readonly [string, PolicyInput, Record<string, string>])[] = [
  ...FORMS.map((form) => [form, always(form), {}] as const),
  ...(FORMS.includes('kernel') ? [['kernel, the MSS alone', mssAlone, { tcp_syncookies: '2' }] as const] : []),
];

/** Sets sysctls of a host, until it is disposed of. */
function withSysctls(netns: Netns, values: Record<string, string>): Disposable {
  const path = (name: string): string => `/proc/sys/net/ipv4/${name}`;
  const before = netns.run(() => Object.keys(values).map((name) => [name, readFileSync(path(name), 'utf8')] as const));
  const set = (all: readonly (readonly [string, string])[]): void => {
    netns.run(() => {
      for (const [name, value] of all) writeFileSync(path(name), value);
    });
  };
  set(Object.entries(values));
  return {
    [Symbol.dispose]: () => {
      set(before);
    },
  };
}

/** Puts a priority tag (VLAN 0), which every host understands, on what the client sends, until it is disposed of. */
const tagger = tc('tagger', ($, packet) => {
  $.call('skb_vlan_push', packet, 0x0081, 0); // 0x8100 in network order
  return TC.OK;
});
function tagged(): Disposable {
  const program = Program.load(tagger);
  const link = clients.run(() => TcLink.attach(program, LAB_INTERFACE, 'egress'));
  return {
    [Symbol.dispose]: () => {
      link[Symbol.dispose]();
      program[Symbol.dispose]();
    },
  };
}

describeAsRoot('challenges', () => {
  const directory = mkdtempSync(join(tmpdir(), 'seawall-challenge-'));
  let http: Running;
  beforeAll(async () => {
    labDown(LAB);
    inner.remove();
    labUp(LAB);
    // Tags are put into the frame, where XDP sees them.
    clients.run(() => execFileSync('ethtool', ['-K', LAB_INTERFACE, 'txvlan', 'off'], { stdio: 'ignore' }));
    // The host's own segments carry whole checksums.
    behind.run(() => execFileSync('ethtool', ['-K', LAB_INTERFACE, 'tx', 'off'], { stdio: 'ignore' }));
    // A host behind the client, which hides it behind its own address.
    inner.create();
    clients.ip('link', 'add', 'down0', 'type', 'veth', 'peer', 'name', 'up0', 'netns', inner.name);
    clients.ip('addr', 'add', '172.20.0.1/24', 'dev', 'down0');
    clients.ip('link', 'set', 'down0', 'up');
    inner.ip('addr', 'add', '172.20.0.2/24', 'dev', 'up0');
    inner.ip('link', 'set', 'up0', 'up');
    inner.ip('route', 'add', 'default', 'via', '172.20.0.1');
    clients.run(() => {
      writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
      const rules =
        'table ip nat { chain post { type nat hook postrouting priority 100; oifname "eth0" masquerade; }; }';
      execFileSync('nft', ['-f', '-'], { input: rules });
    });
    http = new Running('nsenter', [`--net=${behind.path}`, process.execPath, '-e', SERVER]);
    await http.until(/listening/);
  });
  afterAll(async () => {
    await http.stop('SIGKILL');
    inner.remove();
    labDown(LAB);
    rmSync(directory, { recursive: true });
  });

  describe.each(VARIANTS)('%s', (_name, policy, sysctls) => {
    let protection: ProtectedInterface;
    let changed: Disposable;
    beforeAll(() => {
      changed = withSysctls(behind, sysctls);
      protection = guard(policy);
    });
    afterAll(() => {
      protection[Symbol.dispose]();
      changed[Symbol.dispose]();
    });
    // Each has to prove itself.
    let before: bigint;
    beforeEach(() => {
      protection.forgetVerified();
      before = protection.stats().reasons.challenged;
    });
    afterEach(() => {
      expect(protection.stats().reasons.challenged).toBeGreaterThan(before);
    });

    it.each(['http://10.0.0.10/', 'http://[fd00::10]/'])('curl reaches %s', (url) => {
      expect(curl(url)).toMatchObject(hello);
    });

    it.each([
      ['timestamps off', { tcp_timestamps: '0' }],
      ['window scaling off', { tcp_window_scaling: '0' }],
      ['SACK off', { tcp_sack: '0' }],
      ['no option but the MSS', { tcp_timestamps: '0', tcp_window_scaling: '0', tcp_sack: '0' }],
      ['no option but MSS and SACK', { tcp_timestamps: '0', tcp_window_scaling: '0' }],
      ['no option but MSS and window scale', { tcp_timestamps: '0', tcp_sack: '0' }],
      ['ECN on', { tcp_ecn: '1' }],
    ])('a Python socket with %s', (_what, options) => {
      using _options = withSysctls(clients, options);
      for (const address of ['10.0.0.10', 'fd00::10'])
        expect(run(clients, 'python3', '-c', PYTHON, address)).toMatchObject(hello);
    });

    it('clients while keys are changed again and again', () => {
      for (let index = 0; index < 8; index++) {
        protection.forgetVerified();
        protection.rotateCookieKeys();
        expect(curl('http://10.0.0.10/')).toMatchObject(hello);
      }
    });

    it('clients whose frames carry a VLAN tag', () => {
      using _tags = tagged();
      for (const host of ['10.0.0.10', '[fd00::10]']) {
        expect(curl(`http://${host}/`)).toMatchObject(hello);
        expect(curl(`http://${host}/big`, '-o', '/dev/null').status).toBe(0);
      }
    });

    it('a Node client, and one behind a NAT', () => {
      expect(run(clients, process.execPath, '-e', NODE, 'http://10.0.0.10/')).toMatchObject(hello);
      expect(run(inner, 'curl', '-s', '-m', '8', 'http://10.0.0.10/')).toMatchObject(hello);
    });

    it.each(['10.0.0.10', '[fd00::10]'])('20 MB each way with %s, intact', (host) => {
      const file = join(directory, 'big');
      writeFileSync(file, Buffer.alloc(BIG, 'upwards '));
      const sent = createHash('sha256').update(readFileSync(file)).digest('hex');
      expect(curl(`http://${host}/big`, '-T', file)).toMatchObject({ status: 0, stdout: sent });
      const got = join(directory, 'got');
      expect(curl(`http://${host}/big`, '-o', got).status).toBe(0);
      expect(readFileSync(got).equals(Buffer.alloc(BIG, 'the same again '))).toBe(true);
    });
  });

  it.each(FORMS.filter((form) => form !== 'reset'))('%s keeps every option of the client', async (form) => {
    using _protection = guard(always(form));
    using _ecn = withSysctls(clients, { tcp_ecn: '1' });
    const holder = `const s = require('node:net').connect(80, '10.0.0.10', () => { s.write('GET /big HTTP/1.0\\r\\n\\r\\n'); console.log('connected'); }); s.pause(); setTimeout(() => {}, 20000)`;
    await using held = new Running('nsenter', [`--net=${clients.path}`, process.execPath, '-e', holder]);
    await held.until(/connected/);
    const there = run(behind, 'ss', '-tino', 'sport', '=', ':80').stdout;
    expect(there).toMatch(/\bts\b.*\bsack\b.*\becn\b.*wscale:/);
    // Both ends scale each other's windows alike.
    const here = run(clients, 'ss', '-tino', 'dport', '=', ':80').stdout;
    const scales = (text: string): string[] => /wscale:(\d+),(\d+)/.exec(text)!.slice(1);
    expect(scales(there)).toEqual(scales(here).toReversed());
    expect(there).toMatch(/mss:1448/);
  });

  it.runIf(FORMS.includes('assign'))('one program holds several forms, each for its services', () => {
    using protection = guard({
      challenge: { mode: 'always' },
      services: [
        { name: 'cookies', addresses: ['10.0.0.10'] },
        { name: 'resets', form: 'reset' },
      ],
    });
    expect(protection.challengeNote).toMatch(/^challenge: assign .* for cookies; challenge: reset for resets$/);
    expect([curl('http://10.0.0.10/'), curl('http://[fd00::10]/')]).toMatchObject([hello, hello]);
    const { services } = protection.stats();
    expect([services['cookies'], services['resets']]).toMatchObject([{ challenged: 1n }, { challenged: 1n }]);
    expect(protection.stats().reasons.proof).toBe(1n);
  });

  it('are found right by a stranger', async () => {
    for (const form of FORMS) {
      const file = join(directory, `${form}.pcap`);
      {
        using _protection = guard(always(form));
        await using dump = new Running('ip', [
          'netns',
          'exec',
          clients.name,
          'tcpdump',
          '--immediate-mode',
          '-Z',
          'root',
          '-U',
          '-i',
          'eth0',
          '-w',
          file,
        ]);
        await dump.until(/listening on eth0/);
        for (const url of ['http://10.0.0.10/', 'http://[fd00::10]/']) expect(curl(url)).toMatchObject(hello);
        using _tags = tagged();
        expect(curl('http://10.0.0.10/')).toMatchObject(hello);
        await dump.stop('SIGINT');
      }
      // One line an answer: both checksums (1 is good; IPv6 has none of its own), window, and what else tshark finds wrong.
      const fields = ['tcp.checksum.status', 'ip.checksum.status', 'tcp.window_size_value', '_ws.malformed'];
      const answers = execFileSync(
        'tshark',
        ['-r', file, '-o', 'tcp.check_checksum:TRUE', '-o', 'ip.check_checksum:TRUE']
          .concat(['-Y', 'tcp.flags.syn == 1 && tcp.flags.ack == 1', '-T', 'fields', '-E', 'separator=|'])
          .concat(fields.flatMap((name) => ['-e', name])),
        { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
      )
        .trimEnd()
        .split('\n');
      expect(answers.length).toBeGreaterThanOrEqual(3);
      for (const answer of answers) expect(answer).toMatch(/^(1|Good)\|(1|Good)?\|[1-9]\d*\|$/);
    }
  });

  it('are not sent for ports where nobody listens', () => {
    for (const form of FORMS.filter((one) => one !== 'reset')) {
      using protection = guard(always(form));
      const { status } = curl('http://10.0.0.10:81/');
      expect([status, protection.stats().reasons.challenged]).toEqual([7, 0n]); // 7: refused, by the host itself
    }
  });

  it.runIf(FORMS.includes('assign')).each<[string, PolicyInput]>([
    ['reset', always('reset')],
    ['off', { challenge: { mode: 'off' } }],
  ])('accept a cookie that comes back after assign gave way to %s', async (_form, next) => {
    using protection = guard(always('assign'));
    const nft = (rules: string): void => {
      clients.run(() => execFileSync('nft', ['-f', '-'], { input: rules }));
    };
    const { 'within-limit': passed, 'not-syn': others } = protection.stats().reasons;
    // The client has its answer, and the server hears nothing of it.
    nft('table ip held { chain out { type filter hook output priority 0; tcp flags & (syn|ack) == ack drop; }; }');
    await using page = new Running('nsenter', [`--net=${clients.path}`, 'curl', '-s', '-m', '15', 'http://10.0.0.10/']);
    await expect.poll(() => run(clients, 'ss', '-Htn', 'dport', '=', ':80').stdout).toMatch(/^ESTAB/);
    expect(protection.stats().reasons).toMatchObject({ challenged: 1n, proof: 0n, 'not-syn': others });
    behind.run(() => {
      protection.update(next);
    });
    nft('delete table ip held');
    expect([await page.ended(), page.output]).toEqual([0, 'hello\n']);
    expect(protection.stats().reasons).toMatchObject({ challenged: 1n, 'within-limit': passed });
  });
});
