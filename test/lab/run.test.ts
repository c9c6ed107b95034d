/** `seawall run` between real hosts. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { labDown, labUp, namespaceOf, server } from '../../lab/topology.ts';
import { protectingProcess } from '../../src/engine/instance.ts';
import { Pins } from '../../src/engine/pins.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { attached, fetchPage, httpServer, isSilent, Running, seawallOn } from '../support/cli.ts';

const there = namespaceOf(server);
const run = (...options: string[]): Running => Running.seawallOn('server', 'run', '-i', 'eth0', ...options);
const fivePagesAndNoMore = (): boolean =>
  Array.from({ length: 5 }, () => fetchPage()).every((came) => came) && isSilent();

describeAsRoot('run', () => {
  const directory = mkdtempSync(join(tmpdir(), 'seawall-run-'));
  beforeAll(async () => {
    labDown();
    labUp();
    await httpServer();
  });
  afterAll(() => {
    labDown();
    rmSync(directory, { recursive: true });
  });

  it('lets curl through an unprotected interface as often as it likes', () => {
    for (let round = 0; round < 7; round++) expect(fetchPage()).toBe(true);
  });

  it.each(['native', 'generic'])(
    'stops the sixth SYN of a source on the wire, in %s mode, and prints each',
    async (mode) => {
      await using running = run('--rate', '1/h', '--challenge', 'off', '--mode', mode, '--log', 'verdicts');
      await running.until(new RegExp(`protecting eth0 \\(${mode} mode, \\d+ instructions\\)`));
      expect(fivePagesAndNoMore()).toBe(true);
      await running.until(/DROP/);
      const left = [...running.output.matchAll(/tokens (\d)\/5 (PASS|DROP) \(([\w-]+)\)/g)].map((match) =>
        match.slice(1).join(' '),
      );
      expect(left.slice(0, 6)).toEqual([
        '4 PASS within-limit',
        '3 PASS within-limit',
        '2 PASS within-limit',
        '1 PASS within-limit',
        '0 PASS within-limit',
        '0 DROP over-source',
      ]);
      expect(await running.stop('SIGTERM')).toBe(0);
      expect(running.output).toMatch(
        /passed \d+, dropped [1-9]\d*, challenged 0 \(.*within-limit 5, over-source \d+\)/,
      );
      expect(attached()).toEqual({});
    },
  );

  it('gives tokens back with time', async () => {
    const options = ['--rate', '30/m', '--burst', '1', '--challenge', 'off'];
    await using running = run(...options, '--log', 'verdicts', '--json');
    await running.until(/"kind":"attached"/);
    // Of two at once one is dropped; its SYN is sent again until it finds a token.
    const pages = [0, 1].map(() => Running.on('client', 'curl', '-s', '-f', '-m', '20', 'http://10.0.0.10/'));
    expect(await Promise.all(pages.map((page) => page.ended()))).toEqual([0, 0]);
    await running.until(/"reason":"over-source"/);
    await running.stop();
    const lines = running.output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { kind: string; reasons?: Record<string, number> });
    expect(lines.at(-1)).toMatchObject({ kind: 'totals' });
    expect(lines.at(-1)!.reasons!['within-limit']).toBe(2);
  });

  it('protects only the ports it is told to', async () => {
    await using running = run('--burst', '1', '--rate', '1/h', '--port', '443');
    await running.until(/protecting/);
    expect([fetchPage(), fetchPage()]).toEqual([true, true]);
  });

  it('drops nothing in a dry run', async () => {
    await using dry = run('--burst', '1', '--rate', '1/h', '--challenge', 'off', '--dry-run');
    await dry.until(/dry run: nothing is dropped/);
    expect([fetchPage(), fetchPage(), fetchPage()]).toEqual([true, true, true]);
    await dry.stop();
    expect(dry.output).toMatch(/dropped 0, challenged 0, would have dropped 2 and challenged 0/);
  });

  it('refuses a second instance, and names the first', async () => {
    await using running = run('--challenge', 'off');
    await running.until(/protecting/);
    const second = seawallOn('server', 'run', '-i', 'eth0');
    expect(second.status).toBe(4);
    expect(second.stderr).toMatch(/protect eth0: process \d+ does already; stop it \(kill \d+\)/);
    expect(second.stderr.trim().split('\n')).toHaveLength(1);
    const trace = seawallOn('server', 'trace', '-i', 'eth0');
    expect([trace.status, trace.stderr]).toEqual([
      4,
      expect.stringMatching(/^seawall: trace eth0: process \d+ protects it/),
    ]);
    expect(await running.stop()).toBe(0);
  });

  it('stays in force when it is killed, and the next run takes it over with its counters', async () => {
    const killed = run('--rate', '1/h', '--challenge', 'off');
    await killed.until(/protecting/);
    expect(fivePagesAndNoMore()).toBe(true);
    await killed.stop('SIGKILL');
    expect(attached()).not.toEqual({});
    expect(isSilent()).toBe(true);
    await using next = run('--rate', '1/h', '--challenge', 'off');
    await next.until(/protecting/);
    expect(isSilent()).toBe(true);
    await next.stop();
    expect(next.output).toMatch(/within-limit 5, over-source \d+\)/);
    expect(attached()).toEqual({});
  });

  it('reads its policy again on SIGHUP, and keeps the old one where the new one is wrong', async () => {
    const file = join(directory, 'policy.toml');
    writeFileSync(file, '[challenge]\nmode = "off"\n');
    await using running = run('-c', file);
    await running.until(/protecting/);
    expect(fetchPage()).toBe(true);
    writeFileSync(file, '[lists]\ndeny = ["10.0.0.0/8"]\n\n[challenge]\nmode = "offf"\n');
    process.kill(running.pid, 'SIGHUP');
    await running.until(/reload: .*policy\.toml:5: challenge\.mode: "offf" is not allowed; did you mean "off"\?/);
    expect(fetchPage()).toBe(true);
    writeFileSync(file, '[lists]\ndeny = ["10.0.0.0/8"]\n\n[challenge]\nmode = "off"\n');
    process.kill(running.pid, 'SIGHUP');
    await running.until(/read again and in force/);
    expect(isSilent()).toBe(true);
  });

  it('takes a storm of SIGHUPs as a few reloads, the last of which is in force', async () => {
    const file = join(directory, 'storm.toml');
    writeFileSync(file, 'dry-run = true\nchallenge.mode = "off"\n');
    await using running = run('-c', file, '--json');
    await running.until(/"attached"/);
    for (let count = 0; count < 500; count++) process.kill(running.pid, 'SIGHUP');
    writeFileSync(file, 'dry-run = false\nchallenge.mode = "off"\n');
    process.kill(running.pid, 'SIGHUP');
    await running.until(/"reloaded".*dry-run = false/);
    expect(await running.stop()).toBe(0);
    expect(running.output.match(/"reloaded"/g)!.length).toBeLessThan(50);
  });

  it.each<[string, () => boolean]>([
    ['has said that it protects', () => there.run(() => protectingProcess('eth0') !== undefined)],
    ['has pinned', () => there.run(() => new Pins('eth0').exist)],
    ['is attached', () => Object.keys(attached()).length > 0],
  ])('stopped during its start, once it %s, it leaves nothing', async (_, reached) => {
    await using running = run();
    await vi.waitUntil(reached, { timeout: 60_000, interval: 1 });
    expect(await running.stop('SIGTERM')).toBe(0);
    expect(attached()).toEqual({});
    there.run(() => {
      expect(new Pins('eth0').exist).toBe(false);
      expect(protectingProcess('eth0')).toBeUndefined();
    });
  });

  it('notices that its interface is gone', async () => {
    await using running = run();
    await running.until(/protecting/);
    there.ip('link', 'del', 'eth0');
    expect(await running.ended()).toBe(4);
    expect(running.output).toMatch(/protect eth0: the interface is gone/);
  });
});
