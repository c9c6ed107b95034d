/** The lab by its own verbs. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { flood } from '../../lab/flood.ts';
import { labDown } from '../../lab/topology.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { type Finished, Running, seawall } from '../support/cli.ts';

const exec = (host: string, ...command: string[]): Finished => seawall('lab', 'exec', host, '--', ...command);

describeAsRoot('without a lab', () => {
  it.each([['flood'], ['wait', 'server', '--packets', '1'], ['exec', 'server', '--', 'true']])(
    'lab %s says so',
    (...args) => {
      labDown();
      const { status, stderr } = seawall('lab', ...args);
      expect(status).toBe(2);
      expect(stderr).toMatch(/^seawall: .*the lab is not up; run seawall lab up\n$/);
    },
  );
});

describeAsRoot('the lab', () => {
  beforeAll(() => {
    labDown();
    expect(seawall('lab', 'up').stdout).toMatch(/^the lab is up$/m);
  });
  afterAll(() => {
    expect(seawall('lab', 'down').stdout).toBe('the lab is gone\n');
  });

  it('is built once, and shows itself', () => {
    expect(seawall('lab', 'up').stdout).toMatch(/was up already/);
    const { hosts } = JSON.parse(seawall('lab', 'status', '--json').stdout) as {
      hosts: { host: string; up: boolean }[];
    };
    expect(hosts.map(({ host, up }) => [host, up])).toEqual([
      ['client', true],
      ['server', true],
    ]);
    expect(exec('client', 'ping', '-c', '1', '-W', '5', 'fd00::10').status === 0 || !existsSync('/bin/ping')).toBe(
      true,
    );
    expect(exec('nobody', 'true').stderr).toMatch(/no such host; there are client and server/);
    expect(exec('client', 'sh', '-c', 'exit 7').status).toBe(7);
  });

  it('mends what a crash left behind', () => {
    execFileSync('ip', ['netns', 'del', 'seawall-client']);
    expect(seawall('lab', 'up').stdout).toMatch(/the lab is up/);
    expect(exec('client', 'true').status).toBe(0);
  });

  it('floods the lab and nothing else, at the rate it is told', () => {
    const { sent, received, pps } = JSON.parse(
      seawall('lab', 'flood', '--rate', '20000', '--seconds', '1', '--sources', 'random', '--json').stdout,
    ) as Record<string, number>;
    expect(pps).toBeLessThanOrEqual(20_001);
    expect(sent).toBeGreaterThan(5000);
    expect(received).toBeGreaterThanOrEqual(sent! * 0.9);
    const refused = seawall('lab', 'flood', '--target', '192.0.2.1');
    expect(refused.status).toBe(2);
    expect(refused.stderr).toMatch(/only the lab's server, 10\.0\.0\.10 or fd00::10, can be the target/);
    expect(seawall('lab', 'flood', '--sources', 'many').status).toBe(2);
  });

  it('sends SYNs that a stranger finds correct', async () => {
    await using dump = new Running('ip', [
      'netns',
      'exec',
      'seawall-server',
      'tcpdump',
      '-n',
      '-vv',
      '-c',
      '20',
      '-Q',
      'in',
      '-i',
      'eth0',
      'tcp[tcpflags] == tcp-syn',
    ]);
    await dump.until(/listening on eth0/);
    flood({ rate: 100, seconds: 1, sources: 'random' });
    await dump.ended();
    expect(dump.output).toMatch(/cksum 0x[0-9a-f]+ \(correct\).*mss 1460,sackOK,TS val \d+ ecr 0,nop,wscale 7/);
    expect(dump.output).not.toMatch(/incorrect|bad cksum/);
    expect(
      new Set([...dump.output.matchAll(/(\d+\.\d+\.\d+\.\d+)\.\d+ > 10\.0\.0\.10/g)].map((match) => match[1])).size,
    ).toBeGreaterThan(10);
  });
});
