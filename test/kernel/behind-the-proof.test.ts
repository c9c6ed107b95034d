/**
 * What a source can do that proved its address, in both halves of the data plane under a clock that the test sets: floods of verified sources,
 * floods in a verified source's name, and cookies that are collected. Connections are counted where a client would make them: its SYN passes, or is
 * answered with a cookie whose ACK is not dropped.
 */
import { type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Netns } from '../../lab/netns.ts';
import { DEFAULT_STACK } from '../../src/dataplane/cookie/challenger.ts';
import { settableClock } from '../../src/dataplane/state/clock.ts';
import { formFeature } from '../../src/engine/challenger.ts';
import { pinToCpu, Program, TC, XDP, XdpLink } from '../../src/ebpf/index.ts';
import { ethernet, frame, ipv4, ipv6, tcp } from '../../src/net/build.ts';
import { parseFrame } from '../../src/net/parse.ts';
import { LINUX_SYN_OPTIONS } from '../../src/net/tcp-options.ts';
import type { PolicyInput } from '../../src/policy/schema.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { ProgramUnderTest } from '../support/program-under-test.ts';

/** `BOTS=2000 SECONDS=10 COOKIES=20000 npx vitest run --project kernel test/kernel/behind-the-proof.test.ts` is the whole of it. */
const BOTS = Number(process.env['BOTS'] ?? 60);
const SECONDS = Number(process.env['SECONDS'] ?? 5);
const COOKIES = Number(process.env['COOKIES'] ?? 3000);
const CLIENTS = 50;
const DAY = 86_400_000;

const netns = new Netns(`seawall-proof-${process.pid}`);
const bot = (index: number): string => `10.${String(1 + (index >> 8))}.${String(index & 255)}.9`;
const person = (index: number): string => `172.16.${String(index)}.7`;

/** Both halves, and what clients do with them. Time is in milliseconds. */
class Wall implements Disposable {
  readonly kernel: ProgramUnderTest;
  readonly #accept: Program;
  /** A program that is on no interface is registered anew at each test run, which takes milliseconds. */
  readonly #link: XdpLink;
  #now = 0;

  /** With `assumeListening` false, port 80 alone has a listener. */
  constructor(policy: PolicyInput, assumeListening = true) {
    this.kernel = new ProgramUnderTest(policy, { form: 'assign', stack: DEFAULT_STACK, assumeListening });
    const clock = this.kernel.program.map(settableClock);
    this.#accept = Program.load(this.kernel.protection.accept!, { maps: [...this.kernel.maps.all, clock] });
    this.#link = netns.run(() => XdpLink.attach(this.kernel.program, 'eth0'));
  }

  at(now: number): this {
    this.#now = DAY + now;
    this.kernel.at(BigInt(Math.round(this.#now * 1000)) * 1000n);
    return this;
  }

  /** What becomes of a SYN: the answer, or whether it passes. */
  send(data: Buffer): 'pass' | 'drop' | Buffer {
    const { verdict, data: after } = netns.run(() => this.kernel.program.testRun({ data }));
    if (verdict === XDP.TX.code) return after;
    return verdict === XDP.PASS.code ? 'pass' : 'drop';
  }

  /** Whether the host may make a connection of the cookie that an answer brought: it is not dropped before. */
  redeem(answer: Buffer): boolean {
    return netns.run(() => this.#accept.testRun({ data: ackFor(answer) })).verdict !== TC.SHOT.code;
  }

  /** Whether a client's attempt makes a connection at once. */
  connect(syn: Buffer): boolean {
    const sent = this.send(syn);
    if (sent === 'pass') return true;
    return sent !== 'drop' && this.redeem(sent);
  }

  verify(address: string): void {
    const sent = this.send(synOf(address, 1));
    if (typeof sent === 'string' || !this.redeem(sent))
      throw new Error(`verify ${address}: its SYN was not challenged`);
  }

  [Symbol.dispose](): void {
    this.#link[Symbol.dispose]();
    this.#accept[Symbol.dispose]();
    this.kernel[Symbol.dispose]();
  }
}

function synOf(address: string, port: number, dest = 80): Buffer {
  const ip = address.includes(':') ? ipv6({ src: address, dst: 'fd00::10' }) : ipv4({ src: address, dst: '10.0.0.10' });
  return frame([
    ethernet(),
    ip,
    tcp({ source: 1024 + port, dest, seq: port, flags: ['SYN'], options: LINUX_SYN_OPTIONS }),
  ]);
}

function ackFor(answer: Buffer): Buffer {
  const { ip, tcp: reply } = parseFrame(answer);
  const addresses = { src: ip!.dst, dst: ip!.src };
  const stamp = reply!.options.find((option) => option.kind === 'timestamps')!;
  return frame([
    ethernet(),
    ip!.version === 4 ? ipv4(addresses) : ipv6(addresses),
    tcp({
      source: reply!.dest,
      dest: reply!.source,
      seq: reply!.ack,
      ack: (reply!.seq + 1) >>> 0,
      flags: ['ACK'],
      options: [{ kind: 'nop' }, { kind: 'nop' }, { kind: 'timestamps', value: 1, echo: stamp.value }],
    }),
  ]);
}

const always: PolicyInput = { challenge: { mode: 'always', remember: '1h' } };

(formFeature('assign')?.available === false ? describe.skip : describeAsRoot)('behind the proof', () => {
  let listener: ChildProcess;
  beforeAll(async () => {
    // A service's tokens are handed to CPUs in batches.
    pinToCpu(0);
    netns.remove();
    netns.create();
    netns.ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'peer0');
    netns.ip('link', 'set', 'lo', 'up');
    const script = `require('node:net').createServer().listen(80, '::', () => console.log('listening'))`;
    listener = netns.spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(listener.stdout!, 'data');
  });
  afterAll(() => {
    netns.remove();
  });

  it('nobody is limited while there is enough: one address opens 500 connections a second', () => {
    using wall = new Wall(always);
    wall.at(0).verify(bot(1));
    for (let now = 1; now < 2400; now += 2) {
      wall.at(now);
      expect(wall.send(synOf(bot(1), now))).toBe('pass');
    }
  });

  it(`${String(CLIENTS)} clients connect beside ${String(BOTS)} verified sources that send all they can`, () => {
    const rate = BOTS * 5;
    using wall = new Wall({
      ...always,
      limits: { service: { rate: `${String(rate)}/s`, burst: rate } },
    });
    for (let index = 0; index < BOTS; index++) wall.at(0).verify(bot(index));
    for (let index = 0; index < CLIENTS; index++) wall.at(0).verify(person(index));
    const seen = { attempts: 0, connected: 0, passed: 0 };
    const STEP = 20;
    const AT_ONCE = 8;
    let port = 2;
    const bots = Array.from({ length: BOTS }, (_, index) => synOf(bot(index), 7));
    // They had nothing to do for a minute: every bucket is full.
    for (let now = 60_000; now < 60_000 + SECONDS * 1000; now += STEP) {
      wall.at(now);
      for (const syn of bots) {
        // Twice its rate, and a cookie is redeemed where one comes.
        for (let again = 0; again < AT_ONCE; again++) {
          const sent = wall.send(syn);
          if (sent === 'pass') seen.passed++;
          else if (sent !== 'drop') {
            if (wall.redeem(sent)) seen.passed++;
            break;
          }
        }
      }
      for (let index = 0; index < CLIENTS; index++) {
        if ((now / STEP) % (1000 / STEP) !== index) continue;
        seen.attempts++;
        if (wall.connect(synOf(person(index), ++port))) seen.connected++;
      }
    }
    expect(seen.connected / seen.attempts).toBeGreaterThanOrEqual(0.999);
    // What the service has, its bucket, and what comes while prices rise to a whole bucket, one step after the other.
    expect(seen.passed).toBeLessThan(rate * (SECONDS + 1) * 1.2 + 10 * BOTS * AT_ONCE);
  }, 600_000);

  it('300 verified /64s of one /48 send no more than the service has', () => {
    using wall = new Wall(always);
    const networks = Array.from({ length: 300 }, (_, index) => `fd00:1:2:${index.toString(16)}::1`);
    for (const address of networks) wall.at(0).verify(address);
    let passed = 0;
    const frames = networks.map((address) => synOf(address, 7));
    const seconds = 2;
    for (let now = 60_000; now < 60_000 + seconds * 1000; now += 10) {
      wall.at(now);
      // 200 a second each.
      for (const syn of frames) for (let again = 0; again < 2; again++) if (wall.send(syn) === 'pass') passed++;
    }
    expect(passed).toBeLessThan(10_000 * (seconds + 1));
  }, 600_000);

  it('forged SYNs that nobody can be challenged for make nobody dearer who is verified', () => {
    using wall = new Wall(always, false);
    wall.at(0).verify(person(1));
    let [connected, attempts, sent, passed] = [0, 0, 0, 0];
    // Without a listener there is no answer, and each SYN of a source of its own takes a token of the service, as long as it has some.
    for (let now = 60_000; now < 63_000; now += 20) {
      wall.at(now);
      for (let again = 0; again < 500; again++) {
        const address = `100.${String((++sent >> 8) & 255)}.${String(sent & 255)}.${String(sent >> 16)}`;
        if (wall.send(synOf(address, 1, 81)) === 'pass') passed++;
      }
      attempts++;
      if (wall.send(synOf(person(1), attempts)) === 'pass') connected++;
    }
    expect(passed).toBeLessThan(sent);
    expect(connected).toBe(attempts);
  }, 600_000);

  it('a verified source connects while others send in its name', () => {
    using wall = new Wall(always);
    wall.at(0).verify(person(1));
    const forged = synOf(person(1), 9);
    let connected = 0;
    let now = 60_000;
    for (let attempt = 0; attempt < 8; attempt++) {
      // 100,000 a second.
      for (let step = 0; step < 50; step++) {
        wall.at(++now);
        for (let again = 0; again < 100; again++) wall.send(forged);
      }
      if (wall.connect(synOf(person(1), 100 + attempt))) connected++;
    }
    expect(connected).toBe(8);
  }, 600_000);

  it(`${String(COOKIES)} collected cookies do not open ${String(COOKIES)} connections in a second`, () => {
    using wall = new Wall(always);
    const count = COOKIES;
    const cookies = Array.from({ length: count }, (_, index) => wall.at(index / 20).send(synOf(person(1), index)));
    let opened = 0;
    cookies.forEach((answer, index) => {
      wall.at(2000 + (index * 1000) / count);
      if (typeof answer !== 'string' && wall.redeem(answer)) opened++;
    });
    // Twice the bucket of its wide limit, and what comes in within a second.
    expect(opened).toBeGreaterThan(500);
    expect(opened).toBeLessThanOrEqual(2 * 400 + 200);
  }, 600_000);
});
