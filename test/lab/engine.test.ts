/** Changes of a protection happen whole or not at all, and what survives them does. */
import { readdirSync, readFileSync, existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { flood } from '../../lab/flood.ts';
import { LAB_INTERFACE, labDown, labUp, namespaceOf, server } from '../../lab/topology.ts';
import { interfaceIndex, leakedDescriptors, Program, readInterface, xdp, XDP, XdpLink } from '../../src/ebpf/index.ts';
import { COOKIE_LIFE } from '../../src/dataplane/cookie/cookie.ts';
import { formFeature } from '../../src/engine/challenger.ts';
import { Pins } from '../../src/engine/pins.ts';
import { type PolicyInput, protect } from '../../src/index.ts';
import { describeAsRoot } from '../support/as-root.ts';

const LAB = 'seawall-engine';
const there = namespaceOf(server, LAB);
const attached = (): object => there.run(() => readInterface(interfaceIndex(LAB_INTERFACE)!).xdp);
const pinned = (): string[] =>
  there.run(() => {
    const { directory } = new Pins(LAB_INTERFACE);
    return existsSync(directory) ? readdirSync(directory, { recursive: true, encoding: 'utf8' }).toSorted() : [];
  });
const mappings = (): number =>
  readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => /bpf-map/.test(line)).length;
const hourly = (burst: number): PolicyInput => ({
  challenge: { mode: 'off' },
  limits: { source: { rate: '1/h', burst }, service: false },
});
const send = (count: number): number => flood({ seconds: count / 1000, rate: 1000, sources: 'one', lab: LAB }).sent;

describeAsRoot('the engine', () => {
  beforeAll(() => {
    labDown(LAB);
    labUp(LAB);
  });
  afterAll(() => {
    labDown(LAB);
  });

  it('leaves nothing behind where another program holds the interface', () => {
    const foreign = xdp('foreign', () => XDP.PASS);
    using program = Program.load(foreign);
    using _link = there.run(() => XdpLink.attach(program, LAB_INTERFACE));
    const before = { attached: attached(), pinned: pinned(), mappings: mappings(), open: leakedDescriptors().length };
    expect(() => there.run(() => protect(LAB_INTERFACE, { challenge: { mode: 'always' } }, { pin: true }))).toThrow(
      /program foreign .* is there already/,
    );
    expect({ attached: attached(), pinned: pinned(), mappings: mappings(), open: leakedDescriptors().length }).toEqual(
      before,
    );
  });

  it('lets a reader go on across changes of the policy, and pins each generation whole', async () => {
    const protection = there.run(() => protect(LAB_INTERFACE, hourly(1), { pin: true }));
    const seen: number[] = [];
    const reading = (async () => {
      for await (const { reason } of protection.events()) if (reason === 'over-source') seen.push(1);
    })();
    await new Promise((resolve) => setImmediate(resolve));
    let sent = 0;
    const first = pinned();
    for (const burst of [2, 3, 4]) {
      sent += send(20);
      there.run(() => {
        protection.update(hourly(burst));
      });
      expect(pinned().map((name) => name.replace(/^\d+/, ''))).toEqual(first.map((name) => name.replace(/^\d+/, '')));
    }
    sent += send(20);
    const passed = protection.stats().reasons['within-limit'];
    const deadline = Date.now() + 5000;
    while (seen.length < sent - Number(passed) && Date.now() < deadline)
      await new Promise((resolve) => setTimeout(resolve, 5));
    expect([seen.length, protection.stats().lostEvents]).toEqual([sent - Number(passed), 0n]);
    there.run(() => {
      protection[Symbol.dispose]();
    });
    await reading;
    expect([attached(), pinned()]).toEqual([{}, []]);
  });

  it('names events by the policy that they were written under', async () => {
    const named = (name: string): PolicyInput => ({ ...hourly(1), services: [{ name }] });
    const protection = there.run(() => protect(LAB_INTERFACE, named('first')));
    const reading = protection.events();
    const names = ['first', 'second', 'third'];
    const seen: (string | undefined)[] = [];
    const over: number[] = [];
    for (const name of names) {
      if (name !== 'first')
        there.run(() => {
          protection.update(named(name));
        });
      // What is not asked for stays in the ring.
      const begun = name === 'first' ? reading.next() : undefined;
      await new Promise((resolve) => setImmediate(resolve));
      send(20);
      const { value } = (await begun) ?? {};
      if (value?.reason === 'over-source') seen.push(value.service);
      over.push(Number(protection.stats().reasons['over-source']));
    }
    while (seen.length < over.at(-1)!) {
      const { value } = await reading.next();
      if (value?.reason === 'over-source') seen.push(value.service);
    }
    expect(names.map((name) => seen.filter((one) => one === name).length)).toEqual(
      over.map((total, index) => total - (over[index - 1] ?? 0)),
    );
    there.run(() => {
      protection[Symbol.dispose]();
    });
    await reading.next();
  });

  it('keeps the state of a service under its name', () => {
    const service = (name: string, port: number) => ({
      name,
      ports: [port],
      limits: { source: false as const, prefixes: [], service: { rate: '1/h', burst: 8 } },
    });
    using protection = there.run(() =>
      protect(LAB_INTERFACE, { challenge: { mode: 'off' }, services: [service('web', 80), service('mail', 25)] }),
    );
    send(100);
    const before = protection.stats().reasons['within-limit'];
    expect(before).toBeGreaterThan(0n);
    there.run(() => {
      protection.update({ challenge: { mode: 'off' }, services: [service('new', 443), service('web', 80)] });
    });
    send(100);
    expect(protection.stats().reasons['within-limit']).toBe(before);
  });

  describe('counters by service', () => {
    const two = (...names: readonly string[]): PolicyInput => ({
      challenge: { mode: 'off' },
      limits: { service: false },
      services: names.map((name) => ({ name, ports: [{ web: 80, shop: 80, mail: 25, spare: 9 }[name]!] })),
    });
    const SENT = { web: 40, mail: 20 };
    const sendTo = (port: number, count: number): number =>
      flood({ seconds: count / 1000, rate: 1000, sources: 'one', port, lab: LAB }).sent;
    /** Frames of each service, every reason together. */
    const counted = (protection: ReturnType<typeof protect>): Record<string, number> =>
      Object.fromEntries(
        Object.entries(protection.stats().services).map(([name, counts]) => [
          name,
          Number(Object.values(counts).reduce((sum, count) => sum + count, 0n)),
        ]),
      );
    const update = (protection: ReturnType<typeof protect>, input: PolicyInput): void => {
      there.run(() => {
        protection.update(input);
      });
    };

    it('are kept when services are reordered, added, renamed and removed', () => {
      using protection = there.run(() => protect(LAB_INTERFACE, two('web', 'mail')));
      let [web, mail] = [sendTo(80, SENT.web), sendTo(25, SENT.mail)];
      expect(counted(protection)).toEqual({ web, mail });
      update(protection, two('mail', 'web'));
      expect(counted(protection)).toEqual({ web, mail });
      web += sendTo(80, SENT.web);
      mail += sendTo(25, SENT.mail);
      expect(counted(protection)).toEqual({ web, mail });
      update(protection, two('spare', 'mail', 'web'));
      expect(counted(protection)).toEqual({ spare: 0, web, mail });
      update(protection, two('shop', 'mail'));
      const shop = sendTo(80, SENT.web);
      expect(counted(protection)).toEqual({ spare: 0, web, mail, shop });
      update(protection, two('mail', 'web'));
      web += sendTo(80, SENT.web);
      const all = counted(protection);
      expect(all).toEqual({ spare: 0, web, mail, shop });
      const { reasons } = protection.stats();
      const limited = reasons['within-limit'] + reasons['over-source'] + reasons['over-prefix'];
      expect(limited).toBe(BigInt(web + mail + shop));
    });

    it('are taken over from pins for the same services, and begin anew for others', () => {
      using first = there.run(() => protect(LAB_INTERFACE, two('web', 'mail'), { pin: true }));
      const [web, mail] = [sendTo(80, SENT.web), sendTo(25, SENT.mail)];
      expect(counted(first)).toEqual({ web, mail });
      using second = there.run(() => protect(LAB_INTERFACE, two('web', 'mail'), { pin: true }));
      expect(counted(second)).toEqual({ web, mail });
      using third = there.run(() => protect(LAB_INTERFACE, two('mail', 'web'), { pin: true }));
      expect(counted(third)).toEqual({ web: 0, mail: 0 });
      expect([sendTo(80, SENT.web), 0]).toEqual([counted(third)['web'], counted(third)['mail']]);
    });
  });

  it.runIf(formFeature('assign')?.available)('lets the accepting half go once no cookie can come back', () => {
    const accepts = (): boolean => pinned().some((name) => name.endsWith('/accept_link'));
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      using protection = there.run(() =>
        protect(LAB_INTERFACE, { challenge: { mode: 'always', form: 'assign' } }, { pin: true }),
      );
      there.run(() => {
        protection.update({ challenge: { mode: 'off' } });
      });
      const life = Number(COOKIE_LIFE / 1_000_000n);
      vi.advanceTimersByTime(life);
      expect(accepts()).toBe(true);
      vi.advanceTimersByTime(2000);
      expect(accepts()).toBe(false);
    } finally {
      vi.useRealTimers();
    }
  });

  it('counts no frame of a self-test', () => {
    using protection = there.run(() => protect(LAB_INTERFACE, hourly(5)));
    for (const burst of [6, 7]) {
      there.run(() => {
        protection.update(hourly(burst));
      });
      const { 'bad-length': wrong, 'not-tcp': other } = protection.stats().reasons;
      expect(wrong).toBe(0n);
      expect(other).toBeGreaterThanOrEqual(0n);
    }
  });

  it('puts a thousand networks in the place of a thousand others', () => {
    const networks = (second: number): string[] =>
      Array.from({ length: 1000 }, (_, at) => `10.${String(second + (at >> 8))}.${String(at & 255)}.7`);
    const policy = (second: number, last: string): PolicyInput => ({
      challenge: { mode: 'off' },
      lists: { deny: [...networks(second), last] },
    });
    using protection = there.run(() => protect(LAB_INTERFACE, policy(100, '198.18.0.1'), { pin: true }));
    const denied = (): bigint => protection.stats().reasons.denied;
    send(20);
    const before = denied();
    expect(before).toBeGreaterThan(0n);
    there.run(() => {
      protection.update(policy(200, '198.18.0.2'));
    });
    send(20);
    expect(denied()).toBe(before);
  });

  it.each([true, false])('sets sysctls back with the last interface that needs them (pinned: %s)', (pin) => {
    const read = (): string[] => ['syncookies', 'timestamps'].map((name) => there.readSysctl(`net.ipv4.tcp_${name}`));
    const before = read();
    expect(before).not.toContain('2');
    there.ip('link', 'add', 'second', 'type', 'veth', 'peer', 'name', 'peer');
    const policy: PolicyInput = { challenge: { mode: 'always', form: 'kernel', 'set-sysctls': true } };
    for (const firstToStop of [0, 1] as const) {
      const both = [LAB_INTERFACE, 'second'].map((name) => there.run(() => protect(name, policy, { pin })));
      expect(read()).toEqual(['2', '2']);
      const stop = (at: number): void => {
        there.run(() => both[at]![Symbol.dispose]());
      };
      stop(firstToStop);
      expect(read()).toEqual(['2', '2']);
      stop(1 - firstToStop);
      expect(read()).toEqual(before);
    }
    there.ip('link', 'del', 'second');
  });

  it('takes what is pinned off the interface at once, whoever holds it', () => {
    const protection = there.run(() => protect(LAB_INTERFACE, { challenge: { mode: 'always' } }, { pin: true }));
    expect(attached()).not.toEqual({});
    there.run(() => {
      new Pins(LAB_INTERFACE).remove();
    });
    expect([attached(), pinned()]).toEqual([{}, []]);
    expect(protection.attached).toBe(false);
    there.run(() => {
      protection[Symbol.dispose]();
    });
  });

  it('sees that its interface was renamed, or moved away', () => {
    using protection = there.run(() => protect(LAB_INTERFACE, hourly(5)));
    const name = (): string | undefined => there.run(() => protection.currentName);
    expect(name()).toBe(LAB_INTERFACE);
    there.ip('link', 'set', LAB_INTERFACE, 'down');
    there.ip('link', 'set', LAB_INTERFACE, 'name', 'wan0');
    expect(name()).toBe('wan0');
    there.ip('link', 'set', 'wan0', 'netns', String(process.pid));
    expect(name()).toBeUndefined();
    expect(protection.attached).toBe(true);
  });
});
