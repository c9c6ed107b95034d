/** One process protects an interface: its file, and the signals of its first moments. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, truncateSync } from 'node:fs';
import { constants } from 'node:os';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { Netns } from '../../lab/netns.ts';
import { Instance, protectingProcess } from '../../src/engine/instance.ts';
import { interfaceKey } from '../../src/engine/pin-key.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { CLI, Running } from '../support/cli.ts';

describeAsRoot('an instance', () => {
  const netns = new Netns('seawall-instance');
  beforeAll(() => {
    netns.remove();
    netns.create();
  });
  afterAll(() => {
    netns.remove();
  });
  const pidFile = `/run/seawall/${interfaceKey('lo')}.pid`;

  it('one process protects an interface, also while another has only begun to say so', () => {
    const first = new Instance('lo');
    // As it is between the moment when the file is made and that when it is written.
    truncateSync(pidFile);
    expect(() => new Instance('lo')).toThrow('protect lo: another process does already');
    first[Symbol.dispose]();
    new Instance('lo')[Symbol.dispose]();
    expect(existsSync(pidFile)).toBe(false);
  });

  it('opens no debugger on SIGUSR1, and SIGHUP does not end it, from the first moment of its program on', async () => {
    netns.ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth1');
    const args = [CLI, 'run', '-i', 'eth0', '--challenge', 'off'];
    await using run = netns.run(() => new Running(process.execPath, args));
    // SigCgt (proc(5)): the signals that a process catches.
    const caught = (signal: number): boolean => {
      const [, mask] = /^SigCgt:\s*(\w+)/m.exec(readFileSync(`/proc/${String(run.pid)}/status`, 'latin1'))!;
      return ((BigInt(`0x${mask!}`) >> BigInt(signal - 1)) & 1n) === 1n;
    };
    await vi.waitUntil(() => caught(constants.signals.SIGHUP), { timeout: 60_000, interval: 1 });
    expect(netns.run(() => protectingProcess('eth0'))).toBeUndefined();
    for (const signal of ['SIGHUP', 'SIGUSR1'] as const) process.kill(run.pid, signal);
    await run.until(/protecting eth0/);
    process.kill(run.pid, 'SIGUSR1');
    expect(await run.stop('SIGTERM')).toBe(0);
    expect(run.output).not.toContain('Debugger');
  });

  it('leaves no file that it could not write, and names it', () => {
    const { status, stderr } = spawnSync('bash', ['-c', `ulimit -f 0; "$0" "$1" run -i lo`, process.execPath, CLI], {
      encoding: 'utf8',
    });
    expect([status, stderr]).toEqual([4, `seawall: protect lo: use ${pidFile}: EFBIG: file too large, write\n`]);
    expect(existsSync(pidFile)).toBe(false);
  });
});
