/** Pins that are incomplete, of another version, or of a process that is alive or was killed. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { LAB_INTERFACE, labDown, labUp, namespaceOf, server } from '../../lab/topology.ts';
import { BPF_FILE_SYSTEM, interfaceIndex, Program, readInterface, xdp, XDP, XdpLink } from '../../src/ebpf/index.ts';
import { createStateMap, PIN_VERSION } from '../../src/engine/pinned-state.ts';
import { Pins } from '../../src/engine/pins.ts';
import { type PolicyInput, protect } from '../../src/index.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { Running, seawall, seawallOn } from '../support/cli.ts';
import { trafficControl } from '../support/traffic-control.ts';

const there = namespaceOf(server);
const directory = (): string => there.run(() => new Pins(LAB_INTERFACE).directory);
const set = (): string => `${directory()}/${readdirSync(directory())[0]!}`;
const attached = (): object => there.run(() => readInterface(interfaceIndex(LAB_INTERFACE)!).xdp);
const begin = (policy: PolicyInput) => there.run(() => protect(LAB_INTERFACE, policy, { pin: true }));
const limit = (burst: number): PolicyInput => ({ limits: { source: { rate: '1/h', burst } } });

describeAsRoot('pins', () => {
  beforeAll(() => {
    labDown();
    labUp();
  });
  afterAll(() => {
    labDown();
  });

  it('are whole again after a change of the policy', () => {
    const protection = begin(limit(5));
    const whole = readdirSync(set()).toSorted();
    for (const name of ['link', 'state', 'verified']) unlinkSync(`${set()}/${name}`);
    there.run(() => {
      protection.update(limit(6));
    });
    expect(readdirSync(set()).toSorted()).toEqual(whole);
    there.run(() => {
      protection[Symbol.dispose]();
    });
    expect([attached(), existsSync(directory())]).toEqual([{}, false]);
  });

  it('of another version, of none, or of Seawall 0.2, are refused with what to do, and `detach` removes them', () => {
    const program = xdp('former', () => XDP.PASS);
    const state = { policy: '', services: [], sysctls: {}, tested: {}, pins: [], version: PIN_VERSION + 1 };
    const versions = `their version is ${String(PIN_VERSION + 1)}, this Seawall knows ${String(PIN_VERSION)}`;
    for (const [why, where, made] of [
      [versions, `${directory()}/1`, state],
      ['their `state` is missing or cannot be read', `${directory()}/1`, undefined],
      ['Seawall 0.2 made them', directory(), undefined],
    ] as const) {
      mkdirSync(where, { recursive: true, mode: 0o700 });
      {
        using loaded = Program.load(program);
        using link = there.run(() => XdpLink.attach(loaded, LAB_INTERFACE));
        link.pin(`${where}/link`);
        using map = made && createStateMap(made);
        map?.pin(`${where}/state`);
      }
      const refused = seawallOn('server', 'run', '-i', LAB_INTERFACE);
      expect([refused.status, refused.stderr.trim().split('\n').length]).toEqual([4, 1]);
      expect(refused.stderr).toContain(why);
      expect(refused.stderr).toContain('`seawall detach -i eth0`');
      expect(attached()).not.toEqual({});
      expect(seawallOn('server', 'detach', '-i', LAB_INTERFACE).status).toBe(0);
      expect([attached(), existsSync(directory())]).toEqual([{}, false]);
    }
  });

  it('of a killed process know what sysctls were', async () => {
    const file = join(mkdtempSync(join(tmpdir(), 'seawall-pins-')), 'policy.toml');
    writeFileSync(file, '[challenge]\nmode = "always"\nform = "kernel"\nset-sysctls = true\n');
    const read = (): string => there.readSysctl('net.ipv4.tcp_syncookies');
    const before = read();
    const run = Running.seawallOn('server', 'run', '-i', LAB_INTERFACE, '-c', file);
    await run.until(/protecting/);
    expect([before, read()]).toEqual(['1', '2']);
    for (const pid of there.processes()) process.kill(pid, 'SIGKILL');
    await run.ended();
    expect([Object.keys(attached()).length, read()]).toEqual([1, '2']);
    expect(seawallOn('server', 'detach').stdout).toBe('eth0: left behind; seawall detach -i eth0\n');
    expect(seawallOn('server', 'detach', '-i', 'lo').stderr).toBe(
      'seawall: detach: nothing is pinned for lo in this network namespace; pinned are eth0\n',
    );
    expect(seawallOn('server', 'detach', '-i', LAB_INTERFACE).stdout).toBe('eth0 is no longer protected\n');
    expect([attached(), read()]).toEqual([{}, before]);
    expect(seawallOn('server', 'detach').stdout).toBe('nothing is pinned in this network namespace\n');
    rmSync(dirname(file), { recursive: true });
  });

  it('of names that no interface has are not looked for', () => {
    const outside = mkdtempSync(`${BPF_FILE_SYSTEM}/outside`);
    const { status, stderr } = seawall('detach', '-i', `../../../..${outside}`);
    expect([status, stderr.trim().split('\n').length, existsSync(outside)]).toEqual([2, 1, true]);
    rmdirSync(outside);
  });

  it('of a process that lives are left to it', async () => {
    await using run = Running.seawallOn('server', 'run', '-i', LAB_INTERFACE, '--challenge', 'off');
    await run.until(/protecting/);
    const { status, stderr } = seawallOn('server', 'detach', '-i', LAB_INTERFACE);
    expect([status, stderr]).toEqual([4, expect.stringMatching(/process \d+ protects it; stop that process/)]);
    expect(attached()).not.toEqual({});
    expect(seawallOn('server', 'detach').stdout).toMatch(/^eth0: protected by process \d+\n$/);
    expect(await run.stop()).toBe(0);
  });

  it('begin nothing where native mode is refused', () => {
    there.ip('link', 'add', 'bridge0', 'type', 'bridge');
    const { status, stderr } = seawallOn('server', 'run', '-i', 'bridge0', '--mode', 'native', '--challenge', 'always');
    expect([status, stderr]).toEqual([4, expect.stringMatching(/^seawall: attach to bridge0 in native mode: .*\n$/)]);
    there.run(() => {
      expect(new Pins('bridge0').exist).toBe(false);
      expect(readInterface(interfaceIndex('bridge0')!).xdp).toEqual({});
    });
    there.ip('link', 'del', 'bridge0');
  });

  it('of an interface whose name another one has got are not taken over by that one', () => {
    const veth = (name: string, peer: string): string =>
      there.ip('link', 'add', name, 'type', 'veth', 'peer', 'name', peer);
    const on = (name: string): number[] =>
      there.run(() => [...Object.values(readInterface(interfaceIndex(name)!).xdp), ...trafficControl(name)]);
    veth('first', 'peer1');
    const protection = there.run(() => protect('first', { challenge: { mode: 'off' } }, { pin: true }));
    there.ip('link', 'set', 'first', 'name', 'renamed');
    veth('first', 'peer2');
    there.run(() => {
      protection.update({ challenge: { mode: 'always', form: 'assign' } });
    });
    expect([on('renamed').length, on('first')]).toEqual([2, []]);
    const { status, stderr } = seawallOn('server', 'run', '-i', 'first');
    expect([status, stderr]).toEqual([
      4,
      expect.stringMatching(
        /^seawall: take over the pins of first: they protect another interface, which is called renamed now; .*detach -i first/,
      ),
    ]);
    expect(seawallOn('server', 'detach', '-i', 'first').status).toBe(0);
    expect(on('renamed')).toEqual([]);
    there.run(() => {
      protection[Symbol.dispose]();
    });
    for (const name of ['renamed', 'first']) there.ip('link', 'del', name);
  });

  it('of an interface that was renamed stay, and go with one that was moved', async () => {
    await using run = Running.seawallOn('server', 'run', '-i', LAB_INTERFACE, '--challenge', 'off');
    await run.until(/protecting/);
    there.ip('link', 'set', LAB_INTERFACE, 'down');
    there.ip('link', 'set', LAB_INTERFACE, 'name', 'wan0');
    await run.until(/eth0 is called wan0 now; the protection goes on/);
    there.ip('link', 'set', 'wan0', 'netns', 'seawall-client');
    expect(await run.ended()).toBe(4);
    expect(run.output).toMatch(/protect eth0: the interface was moved to another network namespace/);
    await vi.waitFor(() => {
      expect(existsSync(directory())).toBe(false);
    });
  });
});
