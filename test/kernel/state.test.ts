/** Segments that are no SYNs, against the sockets of a namespace: who belongs to a connection, and who is a stray. */
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Netns } from '../../lab/netns.ts';
import { writeFileSync } from 'node:fs';
import { pinToCpu } from '../../src/ebpf/index.ts';
import { addressKey } from '../../src/dataplane/frame/address-key.ts';
import { MOST_LINKS, NO_LINK } from '../../src/dataplane/state/host.ts';
import { parseCidr } from '../../src/net/address.ts';
import { DEFAULT_STACK } from '../../src/dataplane/cookie/challenger.ts';
import type { ReasonName } from '../../src/dataplane/outcome/reason.ts';
import { ethernet, frame, ipv4, ipv6, ipv6Extension, type Layer, tcp, vlan } from '../../src/net/build.ts';
import { IPPROTO, type TcpFlag } from '../../src/net/headers.ts';
import { parseFrame } from '../../src/net/parse.ts';
import { LINUX_SYN_OPTIONS } from '../../src/net/tcp-options.ts';
import type { PolicyInput } from '../../src/policy/schema.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { CONNECTIONS, ProgramUnderTest } from '../support/program-under-test.ts';

const DAY = 86_400n * 1_000_000_000n;
const SECOND = 1_000_000_000n;
const SERVER = '10.0.0.10';
const SERVER6 = 'fd00::10';
const CLIENT = '10.0.0.9';
const LISTENING = 80;
const CLOSED = 81;

/** Opens a connection to itself over each family, leaves one in TIME-WAIT and one in SYN-SENT, and says from which ports. */
const SOCKETS = `
const { createServer, connect } = require('node:net');
const ports = {};
const report = (name, port) => { ports[name] = port; if (Object.keys(ports).length === 4) console.log(JSON.stringify(ports)); };
const server = createServer((socket) => socket.on('error', () => {}).resume());
server.listen({ port: ${String(LISTENING)}, host: '::' }, () => {
  const to = (host, localAddress, then) => {
    const socket = connect({ port: ${String(LISTENING)}, host, localAddress }, () => then(socket));
  };
  to('${SERVER}', '${CLIENT}', (socket) => report('open', socket.localPort));
  to('${SERVER6}', 'fd00::9', (socket) => report('open6', socket.localPort));
  to('${SERVER}', '${CLIENT}', (socket) => {
    const port = socket.localPort;
    socket.on('close', () => report('closed', port)).end();
  });
  const asking = connect({ port: 443, host: '192.0.2.1', localAddress: '${SERVER}', localPort: 45678 });
  asking.on('error', () => {});
  setImmediate(() => report('asking', 45678));
});`;

const strict: PolicyInput = { state: 'always', limits: { strays: { rate: '1/h', burst: 1 } } };

const KNOWN = { ...CONNECTIONS, knowsHost: true };

/** Says whose the addresses are. */
function introduce({ maps, protection }: ProgramUnderTest): void {
  const { links, local } = protection.maps;
  const words = Array.from({ length: MOST_LINKS }, (_, at) => (at === 0 ? 0x0200_0000_0002n : NO_LINK));
  maps.get(links).update(0, { addresses: words });
  for (const address of [SERVER, CLIENT, SERVER6, 'fd00::9']) maps.get(local).update(addressKey(parseCidr(address)), 1);
}

describeAsRoot('the state stage', () => {
  const netns = new Netns(`seawall-state-${process.pid}`);
  let strictly: ProgramUnderTest;
  let ports: Record<'open' | 'open6' | 'closed' | 'asking', number>;
  beforeAll(async () => {
    pinToCpu(0);
    strictly = new ProgramUnderTest(strict, undefined, undefined, KNOWN);
    netns.remove();
    netns.create();
    netns.ip('link', 'set', 'lo', 'up');
    for (const address of [`${SERVER}/32`, `${CLIENT}/32`, `${SERVER6}/128`, 'fd00::9/128'])
      netns.ip('addr', 'add', address, 'dev', 'lo');
    for (const network of ['192.0.2.0/24', '198.51.100.0/24']) netns.ip('route', 'add', network, 'dev', 'lo');
    netns.run(() => {
      writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
    });
    const sockets = netns.spawn(process.execPath, ['-e', SOCKETS], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = (await once(createInterface(sockets.stdout!), 'line')) as [string];
    ports = JSON.parse(line) as typeof ports;
  });
  afterAll(() => {
    strictly[Symbol.dispose]();
    netns.remove();
  });

  const segment = (options: {
    readonly flags?: readonly TcpFlag[];
    readonly source?: number;
    readonly dest?: number;
    readonly src?: string;
    readonly dst?: string;
  }): Layer[] => {
    const { flags = ['ACK'], source = 40_000, dest = LISTENING, src, dst = SERVER } = options;
    const network = dst.includes(':') ? ipv6({ src: src ?? 'fd00::9', dst }) : ipv4({ src: src ?? CLIENT, dst });
    return [ethernet(), network, tcp({ source, dest, flags: [...flags], seq: 7, ack: 9 })];
  };

  /** Uses the budget up, and gives what the program says of frames then. */
  function judge(kernel: ProgramUnderTest, frames: readonly Buffer[]): ReasonName[] {
    introduce(kernel);
    kernel.at(DAY);
    return netns.run(() => {
      kernel.judge(frame(segment({})));
      return frames.map((data) => kernel.judge(data).reason);
    });
  }
  const judgeStrictly = (...frames: readonly Buffer[]): ReasonName[] => judge(strictly, frames);
  function judgeBy(input: PolicyInput, frames: readonly Buffer[]): ReasonName[] {
    using kernel = new ProgramUnderTest(input, undefined, undefined, KNOWN);
    return judge(kernel, frames);
  }

  it.each<[string, () => Buffer]>([
    ['ACK', () => frame(segment({}))],
    ['data', () => frame(segment({ flags: ['ACK', 'PSH'] }), Buffer.from('GET /'))],
    ['SYN-ACK', () => frame(segment({ flags: ['SYN', 'ACK'] }))],
    ['RST', () => frame(segment({ flags: ['RST'] }))],
    ['FIN', () => frame(segment({ flags: ['FIN', 'ACK'] }))],
    ['segment without flags', () => frame(segment({ flags: [] }))],
    ['ACK to a closed port', () => frame(segment({ dest: CLOSED }))],
    ['ACK over IPv6', () => frame(segment({ dst: SERVER6 }))],
    [
      'first fragment',
      () => frame([ethernet(), ipv4({ src: CLIENT, dst: SERVER, fragment: 0x2000 }), tcp({ flags: ['ACK'] })]),
    ],
    ['tagged ACK', () => frame([ethernet(), vlan({ id: 0 }), ...segment({}).slice(1)])],
    [
      'first fragment over IPv6',
      () =>
        frame([
          ethernet(),
          ipv6({ src: 'fd00::9', dst: SERVER6 }),
          ipv6Extension(IPPROTO.FRAGMENT, Uint8Array.of(0, 1, 0, 0, 0, 7)),
          tcp({ flags: ['ACK'] }),
        ]),
    ],
    [
      'ACK with a port of a connection and another address',
      () => frame(segment({ source: ports.open, src: '10.0.0.8' })),
    ],
  ])('drops a stray: %s', (_what, data) => {
    expect(judgeStrictly(data())).toEqual(['stray']);
  });

  it.each<[string, () => Buffer]>([
    ['of an open connection', () => frame(segment({ source: ports.open }))],
    ['of an open connection, a RST', () => frame(segment({ source: ports.open, flags: ['RST'] }))],
    ['of an open connection over IPv6', () => frame(segment({ source: ports.open6, dst: SERVER6 }))],
    [
      'to the end that opened it',
      () => frame(segment({ src: SERVER, source: LISTENING, dst: CLIENT, dest: ports.open })),
    ],
    [
      'of a connection in TIME-WAIT',
      () => frame(segment({ src: SERVER, source: LISTENING, dst: CLIENT, dest: ports.closed })),
    ],
    [
      'that answers a SYN of this host',
      () => frame(segment({ src: '192.0.2.1', source: 443, dest: ports.asking, flags: ['SYN', 'ACK'] })),
    ],
    ['that is forwarded', () => frame(segment({ dst: '198.51.100.9' }))],
    ['to another host on the link', () => frame([ethernet({ dst: '02:00:00:00:00:77' }), ...segment({}).slice(1)])],
  ])('lets through a segment %s', (_what, data) => {
    expect(judgeStrictly(data(), data())).toEqual(['not-syn', 'not-syn']);
  });

  it('lets strays of allowed sources through', () => {
    const input: PolicyInput = { ...strict, lists: { allow: [CLIENT] } };
    expect(judgeBy(input, [frame(segment({})), frame(segment({ src: '10.0.0.8' }))])).toEqual(['not-syn', 'stray']);
  });

  it('looks at the services that ask for it', () => {
    const services: PolicyInput['services'] = [
      { name: 'web', ports: [LISTENING], state: 'always', limits: strict.limits! },
      { name: 'rest', ports: [CLOSED], state: 'off' },
    ];
    const frames = [LISTENING, CLOSED, 82].map((dest) => frame(segment({ dest })));
    expect(judgeBy({ services }, frames)).toEqual(['stray', 'not-syn', 'not-syn']);
  });

  it('lets strays within the budget through, so that the host answers them', () => {
    using kernel = new ProgramUnderTest(
      { state: 'always', limits: { strays: { rate: '2/s', burst: 4 } } },
      undefined,
      undefined,
      KNOWN,
    );
    introduce(kernel);
    const send = (): ReasonName[] => Array.from({ length: 6 }, () => kernel.judge(frame(segment({}))).reason);
    const passed = (): number => netns.run(send).filter((reason) => reason === 'not-syn').length;
    kernel.at(DAY);
    expect([passed(), passed()]).toEqual([4, 0]);
    kernel.at(DAY + SECOND);
    expect(passed()).toBe(2);
  });

  it('would drop in a dry run', () => {
    using kernel = new ProgramUnderTest({ ...strict, 'dry-run': true }, undefined, undefined, KNOWN);
    kernel.at(DAY);
    introduce(kernel);
    const verdicts = netns.run(() => [1, 2].map(() => kernel.judge(frame(segment({}))).verdict));
    expect(verdicts).toEqual(['pass', 'pass']);
    expect(kernel.count('stray', true)).toBe(1n);
  });

  it('in the mode auto looks at a sample, at every segment above the budget, and at a sample again afterwards', () => {
    using kernel = new ProgramUnderTest({ state: 'auto' }, undefined, undefined, KNOWN);
    introduce(kernel);
    const many = (count: number): bigint => {
      const before = kernel.count('stray');
      netns.run(() => kernel.program.testRun({ data: frame(segment({})), repeat: count }));
      return kernel.count('stray') - before;
    };
    kernel.at(DAY);
    expect(many(1000)).toBe(0n);
    expect(many(20_000)).toBeGreaterThan(10_000n);
    expect(many(1000)).toBe(1000n);
    // A few are within what came back meanwhile.
    kernel.at(DAY + 9n * SECOND);
    expect(many(10_000)).toBeGreaterThan(7000n);
    // Nothing was dropped for ten seconds: a sample again, though the budget is used up soon.
    kernel.at(DAY + 20n * SECOND);
    expect(many(200)).toBe(0n);
  });

  it('lets an ACK with a cookie of ours through, and a RST that proves an address', () => {
    for (const form of ['assign', 'reset'] as const) {
      using kernel = new ProgramUnderTest(
        { ...strict, challenge: { mode: 'always' } },
        { form, stack: DEFAULT_STACK },
        undefined,
        KNOWN,
      );
      introduce(kernel);
      kernel.at(DAY);
      netns.run(() => {
        kernel.judge(frame(segment({})));
        const syn = frame([
          ethernet(),
          ipv4({ src: CLIENT, dst: SERVER }),
          tcp({ options: LINUX_SYN_OPTIONS, flags: ['SYN'] }),
        ]);
        const { data, reason } = kernel.judge(syn);
        expect(reason).toBe('challenged');
        const answer = parseFrame(data).tcp!;
        const ends = { source: answer.dest, dest: answer.source };
        const back = (cookie: number): Buffer => {
          const stamps = answer.options.find((option) => option.kind === 'timestamps');
          return form === 'reset'
            ? frame([ethernet(), ipv4({ src: CLIENT, dst: SERVER }), tcp({ ...ends, seq: cookie, flags: ['RST'] })])
            : frame([
                ethernet(),
                ipv4({ src: CLIENT, dst: SERVER }),
                tcp({
                  ...ends,
                  seq: answer.ack,
                  ack: cookie + 1,
                  flags: ['ACK'],
                  options: [{ kind: 'nop' }, { kind: 'nop' }, { kind: 'timestamps', value: 5, echo: stamps!.value }],
                }),
              ]);
        };
        const cookie = form === 'reset' ? answer.ack : answer.seq;
        expect(kernel.judge(back(cookie ^ 1)).reason).toBe('stray');
        expect(kernel.judge(back(cookie)).reason).toBe(form === 'reset' ? 'proof' : 'not-syn');
      });
    }
  });
});
