/** `seawall run` whose output is not read, or cannot be written. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { flood } from '../../lab/flood.ts';
import { LAB_INTERFACE, labDown, labUp, namespaceOf, server } from '../../lab/topology.ts';
import { protectingProcess } from '../../src/engine/instance.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { attached, fetchPage, httpServer, Running } from '../support/cli.ts';

const there = namespaceOf(server);
const protecting = (): number => Number(there.run(() => protectingProcess(LAB_INTERFACE)));

describeAsRoot('the output of run', () => {
  const directory = mkdtempSync(join(tmpdir(), 'seawall-output-'));
  let http: Running;
  beforeAll(async () => {
    labDown();
    labUp();
    http = await httpServer();
  });
  afterAll(() => {
    labDown();
    rmSync(directory, { recursive: true });
  });

  it('prints no more where its reader went away, and protects on', async () => {
    const line = '"$@" run -i eth0 --challenge off --log verdicts | head -1';
    await using run = Running.shellOn('server', line);
    await run.until(/protecting eth0/);
    // A line that is written before the reader is gone goes into the pipe.
    await expect
      .poll(() => [fetchPage(), /the protection goes on, and prints nothing more/.test(run.output)], {
        timeout: 60_000,
      })
      .toEqual([true, true]);
    expect(fetchPage()).toBe(true);
    expect(attached()).not.toEqual({});
    process.kill(protecting(), 'SIGTERM');
    await run.ended();
    expect(attached()).toEqual({});
    expect(run.output).not.toMatch(/^ {4}at /m);
  });

  it('goes on and ends in time while its output is not read', async () => {
    const file = join(directory, 'unread.toml');
    writeFileSync(file, 'events.rate = "1M/s"\nchallenge.mode = "off"\n');
    const line = `"$@" run -i eth0 --log verdicts -c ${file} | { read -r line; echo "$line"; exec sleep 100; }`;
    await using run = Running.shellOn('server', line);
    await run.until(/protecting eth0/);
    // More lines than a pipe holds.
    flood({ rate: 20_000, seconds: 1, sources: 'random' });
    writeFileSync(file, 'nonsense = 1\n');
    const pid = protecting();
    process.kill(pid, 'SIGHUP');
    await run.until(/reload: .*unread\.toml:1: nonsense: unknown key/);
    process.kill(pid, 'SIGTERM');
    await run.until(/standard output is not read; \d+ messages were left out/);
    await expect
      .poll(() => [attached(), there.run(() => protectingProcess(LAB_INTERFACE))], { timeout: 20_000 })
      .toEqual([{}, undefined]);
    for (const left of there.processes().filter((one) => one !== http.pid)) process.kill(left, 'SIGTERM');
    await run.ended();
  });

  it.each(['> /dev/full', '>&-'])('runs with its output %s, and says so at most once', async (redirection) => {
    await using run = Running.shellOn('server', `exec "$@" run -i eth0 ${redirection}`);
    await expect.poll(attached, { timeout: 20_000 }).not.toEqual({});
    expect(await run.stop('SIGTERM')).toBe(0);
    expect(attached()).toEqual({});
    expect(run.output.match(/standard output/g) ?? []).toHaveLength(redirection === '>&-' ? 0 : 1);
    expect(run.output).not.toMatch(/^ {4}at /m);
  });

  it('takes no harm from an SSH_CONNECTION that names no address', async () => {
    const file = join(directory, 'deny.toml');
    writeFileSync(file, '[lists]\ndeny = ["10.0.0.0/8"]\n');
    const line = `SSH_CONNECTION="UNKNOWN 65535 UNKNOWN 65535" exec "$@" run -i eth0 -c ${file}`;
    await using run = Running.shellOn('server', line);
    await run.until(/protecting eth0/);
  });
});
