/** One row for each way in which a SYN gets around some system of the field; here none of them does. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { pinToCpu } from '../../src/ebpf/index.ts';
import { DEFAULT_STACK } from '../../src/dataplane/cookie/challenger.ts';
import { ethernet, frame, ipv4, ipv6, ipv6Extension, type Layer, tcp, udp, vlan } from '../../src/net/build.ts';
import { ETH_P, IPPROTO } from '../../src/net/headers.ts';
import { internetChecksum, pseudoHeaderSum } from '../../src/net/checksum.ts';
import { parseFrame } from '../../src/net/parse.ts';
import { LINUX_SYN_OPTIONS } from '../../src/net/tcp-options.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { ProgramUnderTest } from '../support/program-under-test.ts';

const DAY = 86_400n * 1_000_000_000n;
const syn = tcp({ options: [{ kind: 'mss', size: 1460 }] });
const extension = (type: number): Layer => ipv6Extension(type);
/** By offset, and the bit that says that more follow. */
const fragment = (word: number): Layer => ipv6Extension(IPPROTO.FRAGMENT, Uint8Array.of(0, word, 0, 0, 0, 7));
const atomic = ipv6Extension(IPPROTO.FRAGMENT);

/** What hides it, and the frame. Each has to be challenged. */
const HIDDEN: readonly (readonly [string, Buffer])[] = [
  ['nothing', frame([ethernet(), ipv4(), syn])],
  ['a VLAN tag', frame([ethernet(), vlan(), ipv4(), syn])],
  ['a priority tag', frame([ethernet(), vlan({ id: 0, priority: 5 }), ipv6(), syn])],
  ['QinQ', frame([ethernet(), vlan({ type: ETH_P.QINQ }), vlan({ id: 7 }), ipv4(), syn])],
  ['an outer tag of the old type', frame([ethernet(), vlan({ type: ETH_P.QINQ_OLD }), vlan({ id: 7 }), ipv6(), syn])],
  ['IPv4 options', frame([ethernet(), ipv4({ options: new Uint8Array(4).fill(1) }), syn])],
  ['all the IPv4 options there can be', frame([ethernet(), ipv4({ options: new Uint8Array(40).fill(1) }), syn])],
  ['DF clear', frame([ethernet(), ipv4({ fragment: 0, id: 7 }), syn])],
  ['padding', Buffer.concat([frame([ethernet(), ipv4(), syn]), Buffer.alloc(20)])],
  ['hop-by-hop options', frame([ethernet(), ipv6(), extension(IPPROTO.HOPOPTS), syn])],
  ['a routing header', frame([ethernet(), ipv6(), extension(IPPROTO.ROUTING), syn])],
  ['destination options', frame([ethernet(), ipv6(), extension(IPPROTO.DSTOPTS), syn])],
  ['an atomic fragment', frame([ethernet(), ipv6(), atomic, syn])],
  [
    'eight extension headers in two tags',
    frame([
      ethernet(),
      vlan({ type: ETH_P.QINQ }),
      vlan(),
      ipv6(),
      ...Array.from({ length: 8 }, () => ipv6Extension(IPPROTO.DSTOPTS, new Uint8Array(14))),
      syn,
    ]),
  ],
  [
    'ECN flags',
    frame([ethernet(), ipv4(), tcp({ flags: ['SYN', 'ECE', 'CWR'], options: [{ kind: 'mss', size: 1460 }] })]),
  ],
  ['PSH', frame([ethernet(), ipv4(), tcp({ flags: ['SYN', 'PSH'] })])],
  ['a reserved bit', frame([ethernet(), ipv4(), tcp({ dataOffset: 0x51 })])],
];

/** What hides it, the frame, and the reason it is dropped for. */
const REFUSED: readonly (readonly [string, Buffer, string])[] = [
  ['a third VLAN tag', frame([ethernet(), vlan(), vlan(), vlan(), ipv4(), syn]), 'vlan-depth'],
  [
    'a ninth extension header',
    frame([ethernet(), ipv6(), ...Array.from({ length: 9 }, () => extension(IPPROTO.DSTOPTS)), syn]),
    'ipv6-chain',
  ],
  ['a first fragment', frame([ethernet(), ipv4({ fragment: 0x2000 }), syn]), 'syn-fragment'],
  [
    'a fragment of eight bytes of TCP',
    frame([ethernet(), ipv4({ fragment: 0x2000 }), syn]).subarray(0, 14 + 20 + 8),
    'bad-length',
  ],
  ['a fragment over the flags', frame([ethernet(), ipv4({ fragment: 1 }), syn]), 'tiny-fragment'],
  ['a SYN with data', frame([ethernet(), ipv4(), syn], Buffer.from('GET /')), 'syn-payload'],
  ['SYN and FIN', frame([ethernet(), ipv4(), tcp({ flags: ['SYN', 'FIN'] })]), 'syn-fin'],
  ['SYN and RST', frame([ethernet(), ipv6(), tcp({ flags: ['SYN', 'RST'] })]), 'syn-rst'],
  ['a total length that ends before TCP', frame([ethernet(), ipv4({ totalLength: 20 }), syn]), 'bad-length'],
  ['a total length beyond the frame', frame([ethernet(), ipv4({ totalLength: 1500 }), syn]), 'bad-length'],
  [
    'a first fragment whose chain goes on behind the payload',
    frame([
      ethernet(),
      ipv6({ payloadLength: 16 }),
      fragment(1),
      extension(IPPROTO.DSTOPTS),
      extension(IPPROTO.DSTOPTS),
      udp(),
    ]),
    'bad-length',
  ],
  [
    'a later fragment whose header lies behind the payload',
    frame([ethernet(), ipv6({ payloadLength: 8 }), extension(IPPROTO.DSTOPTS), fragment(16), udp()]),
    'bad-length',
  ],
  ['a header length below five', frame([ethernet(), ipv4({ versionIhl: 0x44 }), syn]), 'bad-ip-header'],
  ['IPv6 behind the type of IPv4', frame([ethernet({ proto: ETH_P.IP }), ipv6(), syn]), 'bad-ip-header'],
  ['a wrong TCP checksum', frame([ethernet(), ipv4(), tcp({ checksum: 1 })]), 'tcp-checksum'],
  [
    'a wrong TCP checksum behind options',
    frame([ethernet(), ipv6(), tcp({ options: LINUX_SYN_OPTIONS, checksum: 1 })]),
    'tcp-checksum',
  ],
  ['a data offset below five', frame([ethernet(), ipv4(), tcp({ dataOffset: 0x40 })]), 'bad-tcp-header'],
  ['a data offset beyond the segment', frame([ethernet(), ipv4(), tcp({ dataOffset: 0xf0 })]), 'bad-tcp-header'],
];

describeAsRoot('evasion', () => {
  let kernel: ProgramUnderTest;
  beforeAll(() => {
    pinToCpu(0);
    kernel = new ProgramUnderTest({ challenge: { mode: 'always' } }, { form: 'reset', stack: DEFAULT_STACK });
    kernel.at(DAY);
  });
  afterAll(() => {
    kernel[Symbol.dispose]();
  });

  it.each(HIDDEN)('a SYN behind %s is challenged, and the answer is right', (_what, data) => {
    const { verdict, reason, data: answer } = kernel.judge(data);
    expect([verdict, reason]).toEqual(['answer', 'challenged']);
    const [question, reply] = [parseFrame(data), parseFrame(answer)];
    expect(reply.vlans).toEqual(question.vlans);
    expect([reply.ip!.src, reply.ip!.dst]).toEqual([question.ip!.dst, question.ip!.src]);
    expect(reply.tcp).toMatchObject({ flags: 0x12, source: 80, dest: 40_000 });
    expect(reply.ip!.extensions).toEqual([]);
    // Not more than half again what came.
    expect(answer.length).toBeLessThanOrEqual(data.length * 1.5);
    if (reply.ip!.version === 4) {
      const start = answer.indexOf(0x45, 12);
      expect(internetChecksum(answer.subarray(start, start + 20))).toBe(0);
    }
  });

  it.each([
    ['IPv4', ipv4(), 6 + 24],
    ['IPv6', ipv6(), 6 + 24],
  ])('a SYN over %s whose checksum a device was to finish is challenged', (_family, ip, rest) => {
    const { source, destination } = ip.addresses!;
    const checksum = pseudoHeaderSum(source, destination, 6, rest - 6);
    const half = (value: number): Buffer =>
      frame([ethernet(), ip, tcp({ options: [{ kind: 'mss', size: 1460 }], checksum: value })]);
    expect(kernel.judge(half(checksum)).reason).toBe('challenged');
    expect(kernel.judge(half(checksum ^ 0x100)).reason).toBe('tcp-checksum');
  });

  it.each([
    ['neither', 0x02, 0, 0],
    ['ECN', 0xc2, 0, 0x40],
    ['accurate ECN', 0xc2, 1, 0x40],
    ['accurate ECN of a kind that is still to come', 0x82, 1, 0],
  ])('a client that offers %s gets the answer of RFC 3168', (_what, flags, ae, expected) => {
    // RFC 9768, section 3.1.2: a server without it answers with ECE alone, or with none of the three, and the client goes on so.
    using cookies = new ProgramUnderTest(
      { challenge: { mode: 'always' } },
      { form: 'assign', stack: DEFAULT_STACK, assumeListening: true },
    );
    const data = frame([ethernet(), ipv4(), tcp({ flags, dataOffset: 0xa0 | ae, options: LINUX_SYN_OPTIONS })]);
    const { reason, data: answer } = cookies.at(DAY).judge(data);
    const at = 14 + 20 + 12;
    expect([reason, answer[at]! & 0x0f, answer[at + 1]]).toEqual(['challenged', 0, 0x12 | expected]);
    // The cookie carries what was agreed on.
    const stamp = parseFrame(answer).tcp!.options.find(({ kind }) => kind === 'timestamps') as { value: number };
    expect(stamp.value & 1).toBe(expected === 0 ? 0 : 1);
  });

  it.each(REFUSED)('%s is refused', (_what, data, reason) => {
    expect(kernel.judge(data)).toMatchObject({ verdict: 'drop', reason });
  });

  it('random IPv6 addresses are limited as the network they come from', () => {
    using limited = new ProgramUnderTest({ challenge: { mode: 'off' } });
    limited.at(DAY);
    const reasons = Array.from({ length: 200 }, (_, index) => {
      const src = `2001:db8:1:2:${index.toString(16)}:${(index * 7).toString(16)}::1`;
      return limited.judge(frame([ethernet(), ipv6({ src }), syn])).reason;
    });
    expect(reasons.filter((reason) => reason === 'within-limit')).toHaveLength(50);
    expect(reasons.at(-1)).toBe('over-prefix');
  });

  it('a RST with a made-up number proves nothing', () => {
    const { data } = kernel.judge(HIDDEN[0]![1]);
    const ack = parseFrame(data).tcp!.ack;
    const reset = (seq: number, from = 40_000, src = '10.0.0.1'): Buffer =>
      frame([ethernet(), ipv4({ src }), tcp({ source: from, flags: ['RST'], seq: seq >>> 0 })]);
    expect(kernel.judge(reset(ack + 1)).reason).toBe('not-syn');
    expect(kernel.judge(reset(ack, 40_001)).reason).toBe('not-syn');
    expect(kernel.judge(reset(ack, 40_000, '10.0.0.2')).reason).toBe('not-syn');
    // Neither does one that comes too late.
    kernel.at(DAY + 70n * 1_000_000_000n);
    expect(kernel.judge(HIDDEN[0]![1]).reason).toBe('challenged');
    expect(kernel.judge(reset(ack)).reason).toBe('not-syn');
    kernel.at(DAY + 1_000_000_000n);
    expect(kernel.judge(reset(ack)).reason).toBe('proof');
    expect(kernel.judge(HIDDEN[0]![1]).reason).toBe('verified');
  });

  it.each([
    ['ten minutes', 600n],
    ['twenty years', 20n * 365n * 86_400n],
    ['forty years', 40n * 365n * 86_400n],
  ])('a source that was verified is not verified any more %s later', (_, seconds) => {
    using fresh = new ProgramUnderTest({ challenge: { mode: 'always' } }, { form: 'reset', stack: DEFAULT_STACK });
    const prove = (src: string): void => {
      const { ack } = parseFrame(fresh.judge(frame([ethernet(), ipv4({ src }), syn])).data).tcp!;
      const reset = frame([ethernet(), ipv4({ src }), tcp({ source: 40_000, flags: ['RST'], seq: ack })]);
      expect(fresh.judge(reset).reason).toBe('proof');
    };
    const syn4 = HIDDEN[0]![1];
    fresh.at(DAY);
    prove('10.0.0.1');
    expect(fresh.judge(syn4).reason).toBe('verified');
    expect(fresh.at(DAY + 60n * 1_000_000_000n).judge(syn4).reason).toBe('verified');
    // Somebody else proves himself, so that verified sources are looked for at all.
    fresh.at(DAY + seconds * 1_000_000_000n);
    prove('10.0.0.2');
    expect(fresh.judge(syn4).reason).toBe('challenged');
  });

  it('a source that proves itself again gets no new tokens', () => {
    using fresh = new ProgramUnderTest(
      { challenge: { mode: 'always' }, limits: { service: false, verified: { rate: '1/h', burst: 2 } } },
      { form: 'reset', stack: DEFAULT_STACK },
    );
    const data = HIDDEN[0]![1];
    const { ack } = parseFrame(fresh.at(DAY).judge(data).data).tcp!;
    const reset = frame([ethernet(), ipv4(), tcp({ source: 40_000, flags: ['RST'], seq: ack })]);
    const frames = [reset, data, data, data, reset, data];
    expect(frames.map((one) => fresh.judge(one).reason)).toEqual([
      'proof',
      'verified',
      'verified',
      'challenged',
      'proof',
      'challenged',
    ]);
  });

  it('a proof over IPv6 verifies no IPv4 address of the same bytes', () => {
    using fresh = new ProgramUnderTest({ challenge: { mode: 'always' } }, { form: 'reset', stack: DEFAULT_STACK });
    const ip = ipv6({ src: 'c0a8:105::', dst: 'fd00::10' });
    const { ack } = parseFrame(fresh.at(DAY).judge(frame([ethernet(), ip, syn])).data).tcp!;
    const reset = tcp({ source: 40_000, flags: ['RST'], seq: ack });
    expect(fresh.judge(frame([ethernet(), ip, reset])).reason).toBe('proof');
    expect(fresh.judge(frame([ethernet(), ip, syn])).reason).toBe('verified');
    expect(fresh.judge(frame([ethernet(), ipv4({ src: '192.168.1.5' }), syn])).reason).toBe('challenged');
  });
});
