import { type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Netns } from '../../lab/netns.ts';
import { pinToCpu } from '../../src/ebpf/index.ts';
import { DEFAULT_STACK, type Form, type Stack } from '../../src/dataplane/cookie/challenger.ts';
import type { LinkKind } from '../../src/dataplane/frame/link.ts';
import { formFeature } from '../../src/engine/challenger.ts';
import { ethernet, frame, ipv4, ipv6, tcp } from '../../src/net/build.ts';
import { ETH_P, Eth } from '../../src/net/headers.ts';
import { parseFrame } from '../../src/net/parse.ts';
import type { PolicyInput } from '../../src/policy/schema.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { Model, type ModelChallenger } from '../support/model.ts';
import { KernelCookies } from '../support/kernel-cookies.ts';
import { CONNECTIONS, ProgramUnderTest } from '../support/program-under-test.ts';
import { Random, randomFrame } from '../support/random-frame.ts';

const FRAMES = Number(process.env['FRAMES'] ?? 50_000);
const SEED = Number(process.env['SEED'] ?? 1);
const DAY = 86_400n * 1_000_000_000n;

const tight = { source: { rate: '1/s', burst: 5 }, service: { rate: '20/s', burst: 30 } };
/** Ports on which somebody listens. */
const LISTENING = [80, 443, 8050] as const;
const NAMESPACE = `seawall-model-${process.pid}`;

/** A host whose timestamps are its clock's. */
const PLAIN: Partial<Stack> = { plainTimestamps: true };

/** What it shows, the policy, how it challenges, the host that it does so for, and what its frames begin with. */
const POLICIES: readonly (readonly [string, PolicyInput, Form?, Partial<Stack>?, LinkKind?])[] = [
  ['always challenged with cookies', { challenge: { mode: 'always' } }, 'assign'],
  ['challenged over a limit', { limits: tight }, 'assign'],
  ["always challenged with the kernel's cookies", { challenge: { mode: 'always' } }, 'kernel', PLAIN],
  ["challenged over a limit with the kernel's cookies, the MSS alone", { limits: tight }, 'kernel'],
  [
    'always challenged with resets',
    { challenge: { mode: 'always' }, limits: { verified: { rate: '2/s', burst: 5 } } },
    'reset',
  ],
  ['challenged over a limit with resets', { limits: tight }, 'reset'],
  ['always challenged with cookies, without a link header', { challenge: { mode: 'always' } }, 'assign', {}, 'ip'],
  ['challenged over a limit with resets, without a link header', { limits: tight }, 'reset', {}, 'ip'],
  [
    'verified sources that want more than there is',
    {
      challenge: { mode: 'always' },
      limits: {
        service: { rate: '3/s', burst: 6 },
        verified: { rate: '4/s', burst: 12 },
        prefixes: [{ family: 4, bits: 24, rate: '2/s', burst: 4 }],
      },
    },
    'reset',
  ],
  ['would be challenged', { challenge: { mode: 'always' }, 'dry-run': true }, 'reset'],
  [
    'modes that differ',
    {
      services: [
        { name: 'web', ports: [80], challenge: 'always' },
        { name: 'tls', ports: [443], challenge: 'off', limits: tight },
        { name: 'rest', limits: tight },
      ],
    },
    'assign',
  ],
  [
    'forms that differ',
    {
      challenge: { mode: 'always' },
      services: [
        { name: 'web', ports: [80] },
        { name: 'tls', ports: [443], form: 'reset' },
        { name: 'rest', form: 'reset', challenge: 'auto', limits: tight },
      ],
    },
    'assign',
  ],
  [
    "the kernel's cookies and resets",
    {
      limits: tight,
      services: [
        { name: 'web', ports: [80] },
        { name: 'rest', form: 'reset' },
      ],
    },
    'kernel',
    PLAIN,
  ],
  [
    'strays dropped, challenged with cookies',
    { state: 'always', challenge: { mode: 'always' }, limits: { strays: { rate: '1/m', burst: 4 } } },
    'assign',
  ],
  [
    'strays dropped over a budget, challenged with resets, some allowed',
    {
      state: 'auto',
      challenge: { mode: 'always' },
      limits: { strays: { rate: '1/h', burst: 12 } },
      lists: { allow: ['10.0.0.2', '2001:db8::/48'] },
    },
    'reset',
  ],
  [
    'strays of services that differ, in a dry run',
    {
      'dry-run': true,
      state: 'always',
      challenge: { mode: 'off' },
      limits: { strays: { rate: '1/d', burst: 16 } },
      services: [
        { name: 'web', ports: [80], addresses: ['10.0.0.10'] },
        { name: 'tls', ports: [443], state: 'off' },
        { name: 'rest', ports: ['8000-8100', 22], limits: { strays: { rate: '1/d', burst: 20 } } },
      ],
    },
  ],
  ['default', { challenge: { mode: 'off' } }],
  ['tight, in a dry run', { challenge: { mode: 'off' }, limits: tight, 'dry-run': true }],
  [
    'lists, fragments dropped, no sanity checks',
    {
      challenge: { mode: 'off' },
      lists: {
        allow: ['10.0.0.2', '2001:db8::/48'],
        deny: ['10.0.0.0/24', '198.51.100.1', 'fd00:0:0:1::/64', '2001:db8::5'],
      },
      fragments: { first: 'drop', later: 'drop' },
      sanity: Object.fromEntries(
        ['syn-fin', 'syn-rst', 'syn-urg', 'syn-payload', 'syn-ack-number', 'null-port', 'hping', 'mirai'].map(
          (name) => [name, false],
        ),
      ),
    },
  ],
  [
    'three services that differ',
    {
      challenge: { mode: 'off' },
      services: [
        {
          name: 'web',
          addresses: ['10.0.0.10', 'fd00::/64'],
          ports: [80, '8000-8050'],
          limits: { source: { rate: '2/s', burst: 3 } },
        },
        { name: 'open', ports: [443], limits: { source: false, prefixes: [], service: false } },
        { name: 'rest', addresses: ['10.0.0.0/24', '2001:db8::/32'], limits: tight },
      ],
    },
  ],
  [
    'services by look-up',
    {
      challenge: { mode: 'off' },
      services: [
        { name: 'many', addresses: ['10.0.0.11'], ports: Array.from({ length: 30 }, (_, index) => 8000 + index * 5) },
        {
          name: 'net',
          addresses: ['10.0.0.0/24', 'fd00::/48'],
          ports: [80],
          limits: { source: { rate: '10/s', burst: 1 } },
        },
        { name: 'ssh', ports: [22, '400-500'] },
      ],
    },
  ],
];

/** Test runs take no less. */
const SMALLEST = 14;

/** A frame as it is on this kind of link; another one where nothing is left of it. */
function onLink(link: LinkKind, make: () => Buffer): Buffer {
  for (;;) {
    const data = make();
    if (link === 'ethernet') return data;
    if (data.length >= Eth.size + SMALLEST) return data.subarray(Eth.size);
  }
}

/** The same behind an Ethernet header. */
function inEthernet(link: LinkKind, data: Buffer): Buffer {
  if (link === 'ethernet') return data;
  const head = Buffer.alloc(Eth.size);
  head.writeUInt16BE(data[0]! >> 4 === 4 ? ETH_P.IP : ETH_P.IPV6, Eth.offsets.proto);
  return Buffer.concat([head, data]);
}

/** Mostly bursts; now and then a pause in which buckets refill, and rarely one in which cells of 32 bits wrap. */
function pause(random: Random): bigint {
  if (random.chance(0.97)) return BigInt(random.pick([0, 0, 0, 1000, 5_000_000, 20_000_000]));
  return random.chance(0.9) ? BigInt(random.below(2 ** 34)) : BigInt(random.below(20)) * DAY;
}

/**
 * What a real client sends back for an answer: a RST where its acknowledgement number is the cookie, and an ACK where the sequence
 * number is. Every third ACK is wrong in something.
 */
function clientFor(syn: Buffer, answer: Buffer, random: Random): Buffer {
  const reply = parseFrame(answer);
  const { src, dst, version } = reply.ip!;
  const network = version === 4 ? ipv4({ src: dst, dst: src }) : ipv6({ src: dst, dst: src });
  const { source: dest, dest: source, ack: seq } = reply.tcp!;
  if (reply.tcp!.seq === parseFrame(syn).tcp!.seq)
    return frame([ethernet(), network, tcp({ source, dest, seq, flags: ['RST'] })]);
  const ack = (reply.tcp!.seq + 1) >>> 0;
  const wrong = random.below(12);
  const more = {
    ...(wrong === 0 ? { ack: (ack ^ (1 << random.below(31))) >>> 0 } : {}),
    ...(wrong === 1 ? { source: source ^ 1 } : {}),
    ...(wrong === 2 ? { seq: (seq + 1 + random.below(100)) >>> 0 } : {}),
    ...(wrong === 3 ? { flags: random.pick([0x00, 0x08, 0x12, 0x14, 0x04]) } : {}),
  };
  return frame([ethernet(), network, tcp({ source, dest, seq, ack, flags: random.pick([0x10, 0x18, 0x11]), ...more })]);
}

describeAsRoot('data plane and model', () => {
  const netns = new Netns(NAMESPACE);
  let server: ChildProcess;
  beforeAll(async () => {
    // A service's tokens are handed to CPUs in batches; the model has one CPU.
    pinToCpu(0);
    netns.remove();
    netns.create();
    // Nothing is forwarded, so every address is this host's.
    netns.run(() => {
      writeFileSync('/proc/sys/net/ipv4/ip_forward', '0');
      writeFileSync('/proc/sys/net/ipv6/conf/all/forwarding', '0');
    });
    const script = `let open = 0; for (const port of ${JSON.stringify(LISTENING)})
      require('node:net').createServer().listen(port, '::', () => { if (++open === ${String(LISTENING.length)}) console.log('listening') })`;
    server = netns.spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(server.stdout!, 'data');
  });
  afterAll(() => {
    netns.remove();
  });

  const possible = POLICIES.filter(([, , form]) => !form || (formFeature(form)?.available ?? true));
  it.each(possible.map(([name, input, form, stack, link = 'ethernet']) => ({ name, input, form, stack, link })))(
    'agree on every frame: $name',
    ({ input, form, stack, link }) => {
      const forms = { reset: 'reset' } as const;
      const host = { ...DEFAULT_STACK, ...stack };
      const strays = input.state !== undefined;
      const connections = strays ? CONNECTIONS : undefined;
      using kernel = new ProgramUnderTest(input, form && { form, forms, stack: host }, link, connections);
      using cookies = form === 'kernel' ? new KernelCookies() : undefined;
      const challenger: ModelChallenger | undefined = form && {
        form,
        forms,
        listening: new Set(LISTENING),
        plainTimestamps: stack?.plainTimestamps ?? false,
        ...(cookies ? { kernelCookie: cookies.cookie } : {}),
      };
      const model = new Model(
        kernel.protection.policy,
        kernel.keys,
        challenger,
        link,
        strays ? { listening: new Set(LISTENING) } : undefined,
      );
      const random = new Random(SEED);
      const replies: Buffer[] = [];
      let now = DAY;
      const seen = new Map<string, number>();
      netns.run(() => {
        for (let index = 0; index < FRAMES / POLICIES.length; index++) {
          now += pause(random);
          const data = onLink(link, () =>
            random.chance(0.3) ? (replies.pop() ?? randomFrame(random)) : randomFrame(random),
          );
          const expected = model.judge(data, now);
          const found = kernel.at(now).judge(data, expected.reason);
          const { verdict, reason } = found;
          const sameBytes = verdict === 'drop' || found.data.equals(expected.data) || cookies?.changed;
          if (verdict !== expected.verdict || reason !== expected.reason || !sameBytes) {
            const bytes = { frame: data.toString('hex'), index };
            expect({ ...bytes, verdict, reason, data: found.data.toString('hex') }).toEqual({
              ...bytes,
              verdict: expected.verdict,
              reason: expected.reason,
              data: expected.data.toString('hex'),
            });
          }
          if (verdict === 'answer' && random.chance(0.5))
            replies.push(clientFor(inEthernet(link, data), inEthernet(link, found.data), random));
          seen.set(reason, (seen.get(reason) ?? 0) + 1);
        }
      });
      kernel.checkTotals();
      // The generator reaches what it is meant to.
      expect(seen.size).toBeGreaterThan(12);
      if (strays) expect(seen.get('stray')).toBeGreaterThan(10);
      if (form) expect(seen.get('challenged')).toBeGreaterThan(10);
      if (form === 'kernel') expect(seen.get('verified')).toBeGreaterThan(10);
      if (process.env['SHOW']) console.log(Object.fromEntries(seen));
    },
    24 * 3_600_000,
  );
});
