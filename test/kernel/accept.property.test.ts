/** The half in traffic control against the model: which ACKs make a connection, and what the listener is told of each. */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Netns } from '../../lab/netns.ts';
import { DEFAULT_STACK } from '../../src/dataplane/cookie/challenger.ts';
import { settableClock } from '../../src/dataplane/state/clock.ts';
import { formFeature } from '../../src/engine/challenger.ts';
import { interfaceIndex, kernelFieldOffset, Program, TcLink, xdp, XDP } from '../../src/ebpf/index.ts';
import { ethernet, frame, ipv4, ipv6, tcp } from '../../src/net/build.ts';
import { parseFrame } from '../../src/net/parse.ts';
import type { TcpOption } from '../../src/net/tcp-options.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { Model, type ModelAccepted } from '../support/model.ts';
import { ProgramUnderTest } from '../support/program-under-test.ts';
import { Random } from '../support/random-frame.ts';

const SEGMENTS = Number(process.env['SEGMENTS'] ?? 150);
const SEED = Number(process.env['SEED'] ?? 1);
const DAY = 86_400n * 1_000_000_000n;
const SLOT = 1n << 35n;
const MTU = 1500;
const MAC = '02:00:00:00:00:10';

const netns = new Netns(`seawall-accept-${process.pid}`);

function offered(random: Random): TcpOption[] {
  const list: TcpOption[] = [];
  if (random.chance(0.9)) list.push({ kind: 'mss', size: random.pick([100, 536, 1220, 1300, 1380, 1440, 1460, 8960]) });
  if (random.chance(0.7)) list.push({ kind: 'windowScale', shift: random.below(16) });
  if (random.chance(0.7)) list.push({ kind: 'sackPermitted' });
  if (random.chance(0.6)) list.push({ kind: 'timestamps', value: 1 + random.below(2 ** 31), echo: 0 });
  return list;
}

/** What ss(8) shows of the connection with this port of the client, in the model's words; undefined where there is none. */
function connection(port: number): ModelAccepted | undefined {
  const shown = netns
    .run(() =>
      execFileSync('ss', ['-tinoOH', 'state', 'established', 'dport', '=', `:${String(port)}`], { encoding: 'utf8' }),
    )
    .trim();
  if (shown === '') return undefined;
  const words = new Set(shown.split(/\s+/));
  const scale = /wscale:(\d+),(\d+)/.exec(shown);
  if (scale) expect(scale[2]).toBe('7');
  return {
    mss: Number(/\bmss:(\d+)/.exec(shown)![1]),
    windowScale: scale ? Number(scale[1]) : undefined,
    sack: words.has('sack'),
    ecn: words.has('ecn'),
    timestamps: words.has('ts'),
  };
}

/** The payload of a full segment to a client with these options. */
function segmentPayload({ mss, timestamps }: ModelAccepted, family: 4 | 6): number {
  return Math.min(mss, MTU - (family === 4 ? 40 : 60)) - (timestamps ? 12 : 0);
}

(formFeature('assign')?.available === false ? describe.skip : describeAsRoot)('accepting half and model', () => {
  let http: ChildProcess;
  beforeAll(async () => {
    netns.remove();
    netns.create();
    netns.ip('link', 'add', 'eth0', 'address', MAC, 'type', 'veth', 'peer', 'name', 'peer0');
    netns.ip('addr', 'add', '10.0.0.10/16', 'dev', 'eth0');
    netns.ip('addr', 'add', 'fd00::10/32', 'dev', 'eth0', 'nodad');
    for (const name of ['peer0', 'eth0']) netns.ip('link', 'set', name, 'up');
    netns.run(() => {
      writeFileSync('/proc/sys/net/ipv4/conf/all/rp_filter', '0');
      writeFileSync('/proc/sys/net/ipv4/conf/eth0/rp_filter', '0');
    });
    const script = `require('node:net').createServer((socket) => socket.on('error', () => {})).listen(80, '::', 4096, () => console.log('listening'))`;
    http = netns.spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(http.stdout!, 'data');
  });
  afterAll(() => {
    netns.remove();
  });

  it('agree on every ACK', () => {
    const [length, limit] = ['sk_ack_backlog', 'sk_max_ack_backlog'].map((name) =>
      kernelFieldOffset('sock', name)!,
    ) as [number, number];
    using kernel = new ProgramUnderTest(
      { challenge: { mode: 'always', form: 'assign' }, limits: { verified: { rate: '1k/s', burst: 100_000 } } },
      { form: 'assign', stack: { ...DEFAULT_STACK, acceptQueue: { length, limit } }, assumeListening: true },
    );
    const model = new Model(kernel.protection.policy, kernel.keys, { form: 'assign', listening: new Set([80, 81]) });
    const listener = new Model(kernel.protection.policy, kernel.keys, { form: 'assign', listening: new Set([80]) });
    const clock = kernel.program.map(settableClock);
    using accept = Program.load(kernel.protection.accept!, { maps: [...kernel.maps.all, clock] });
    using _link = netns.run(() => TcLink.attach(accept, 'eth0', 'ingress'));
    using pass = Program.load(xdp('passing', () => XDP.PASS));
    const index = netns.run(() => interfaceIndex('eth0')!);
    const receive = (data: Buffer): void => {
      const context = Buffer.alloc(24);
      context.writeUInt32LE(data.length, 4);
      context.writeUInt32LE(index, 12);
      netns.run(() => pass.testRun({ data, context, liveFrames: true, repeat: 1 }));
    };
    const random = new Random(SEED);
    const seen = { accepted: 0, refused: 0 };
    let now = DAY;
    for (let round = 0; round < SEGMENTS; round++) {
      now += BigInt(random.below(1_000_000_000));
      const family = random.pick([4, 6] as const);
      const source = 2000 + round;
      const dest = random.chance(0.95) ? 80 : 81;
      // A source that is verified is not challenged, so each has an address of its own.
      const host = (12 + round).toString(16);
      const client = family === 4 ? `10.0.${String(1 + (round >> 8))}.${String(round & 255)}` : `fd00:0:0:${host}::1`;
      const ip = family === 4 ? ipv4({ src: client, dst: '10.0.0.10' }) : ipv6({ src: client, dst: 'fd00::10' });
      const isn = random.below(2 ** 32);
      const ecn = random.chance(0.3) ? 0xc0 : 0;
      const options = offered(random);
      const syn = frame([ethernet({ dst: MAC }), ip, tcp({ source, dest, seq: isn, flags: 0x02 | ecn, options })]);
      const question = model.judge(syn, now);
      listener.judge(syn, now);
      const answer = kernel.at(now).judge(syn);
      expect([answer.verdict, answer.data.toString('hex')]).toEqual([question.verdict, question.data.toString('hex')]);
      const reply = parseFrame(answer.data).tcp!;
      const stamp = reply.options.find((option) => option.kind === 'timestamps');
      const wrong = random.chance(0.5) ? random.below(9) : -1;
      const flip = 1 << random.below(31);
      let seq = (isn + 1) >>> 0;
      let ack = (reply.seq + 1) >>> 0;
      let echo = stamp?.value ?? 0;
      let timestamps = stamp !== undefined;
      let flags = 0x10;
      let port = source;
      if (wrong === 0) ack = (ack ^ flip) >>> 0;
      if (wrong === 1) seq = (seq + 1) >>> 0;
      if (wrong === 2) echo = (echo ^ flip) >>> 0;
      if (wrong === 3) timestamps = !timestamps;
      if (wrong === 4) flags = random.pick([0x02, 0x12, 0x14, 0x04, 0x00, 0x18]);
      if (wrong === 5) port += 10_000;
      if (wrong === 6) now += SLOT; // still good
      if (wrong === 7) now += 2n * SLOT; // too old
      const fragment = wrong === 8 && family === 4 ? { fragment: 0x2000 } : {};
      const back = family === 4 ? ipv4({ src: client, dst: '10.0.0.10', ...fragment }) : ip;
      const nops: TcpOption[] = [{ kind: 'nop' }, { kind: 'nop' }];
      const ackOptions: TcpOption[] = timestamps ? [...nops, { kind: 'timestamps', value: 77, echo }] : [];
      const segment = tcp({ source: port, dest, seq, ack, flags, window: 64_240, options: ackOptions });
      const data = frame([ethernet({ dst: MAC }), back, segment]);
      const expected = listener.accept(data, now);
      if (expected === 'over-redeemed') throw new Error('each source redeems one cookie');
      model.accept(data, now);
      kernel.at(now);
      receive(data);
      const found = connection(port);
      const what = { round, wrong, frame: data.toString('hex') };
      expect({ ...what, found }).toEqual({
        ...what,
        found: expected && { ...expected, mss: segmentPayload(expected, family) },
      });
      seen[expected ? 'accepted' : 'refused']++;
      if (!expected || !random.chance(0.2)) continue;
      // The same ACK makes no second connection once the first is gone, however long after its batch.
      netns.run(() => execFileSync('ss', ['-tK', 'dport', '=', `:${String(port)}`]));
      expect(connection(port)).toBeUndefined();
      now += 1_000_000_000n;
      kernel.at(now);
      receive(data);
      expect([listener.accept(data, now), connection(port)]).toEqual([undefined, undefined]);
    }
    expect(Math.min(seen.accepted, seen.refused)).toBeGreaterThan(SEGMENTS / 6);
  });
});
