/** `seawall trace` between real hosts. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { flood } from '../../lab/flood.ts';
import { labDown, labUp, namespaceOf, server } from '../../lab/topology.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { attached, fetchPage, httpServer, Running, seawallOn } from '../support/cli.ts';

const there = namespaceOf(server);

describeAsRoot('trace', () => {
  const directory = mkdtempSync(join(tmpdir(), 'seawall-trace-'));
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

  it.each(['/proc/version', '/nowhere/file\nname', '/dev/full'])('says in one line that it cannot write %j', (file) => {
    const { status, stderr } = seawallOn('server', 'trace', '-i', 'eth0', '-w', file);
    expect(stderr).toMatch(/^seawall: write \/.*: .*\n$/);
    expect([3, 4]).toContain(status);
    expect(attached()).toEqual({});
  });

  it('traces the handshake of one curl from both sides, and writes what tcpdump reads', async () => {
    const file = join(directory, 'server.pcapng');
    await using atServer = Running.seawallOn('server', 'trace', '-i', 'eth0', '--count', '3', '-w', file, '--json');
    await using atClient = Running.seawallOn('client', 'trace', '-i', 'eth0', '--syn', '--count', '1');
    await Promise.all([atServer.until(/tracing eth0/), atClient.until(/tracing eth0/)]);
    expect(fetchPage()).toBe(true);
    expect([await atServer.ended(), await atClient.ended()]).toEqual([0, 0]);
    const seen = atServer.output
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as { flags: string[]; dstPort: number; payloadLength: number });
    expect(seen.map(({ flags }) => flags.join())).toEqual(['SYN', 'ACK', 'PSH,ACK']);
    expect(seen[2]).toMatchObject({ dstPort: 80 });
    expect(seen[2]!.payloadLength).toBeGreaterThan(20);
    expect(atClient.output).toMatch(/10\.0\.0\.10:80 > 10\.0\.0\.1:\d+ SYN,ACK seq \d+ ack \d+ win \d+ len 0/);
    const dump = execFileSync('tcpdump', ['-nr', file], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    expect(dump.trim().split('\n')).toHaveLength(3);
    expect(dump).toMatch(/Flags \[S\].*mss 1460/);
  });

  it('says how to make place where a killed run left its program', async () => {
    await using run = Running.seawallOn('server', 'run', '-i', 'eth0');
    await run.until(/cells = /);
    await run.stop('SIGKILL');
    const { status, stderr } = seawallOn('server', 'trace', '-i', 'eth0');
    expect(stderr).toMatch(/a killed run left its program there.*; seawall detach -i eth0 takes it off\n$/);
    expect(status).toBe(4);
    expect(seawallOn('server', 'detach', '-i', 'eth0').status).toBe(0);
  });

  it('ends a trace that is stopped with its count', async () => {
    await using trace = Running.seawallOn('server', 'trace', '-i', 'eth0');
    await trace.until(/tracing/);
    expect(await trace.stop('SIGTERM')).toBe(0);
    expect(trace.output).toMatch(/^\d+ segments$/m);
  });

  it('ends when it is stopped while nobody reads its lines', async () => {
    const line =
      '{ "$@" trace -i eth0 & echo "pid $!" >&2; wait $!; echo "status $?" >&2; } | { read -r line; exec sleep 100; }';
    await using trace = Running.shellOn('server', line);
    await trace.until(/tracing/);
    const pid = Number((await trace.until(/pid (\d+)/))[1]);
    // More lines than a pipe holds.
    flood({ rate: 20_000, seconds: 1, sources: 'random' });
    process.kill(pid, 'SIGTERM');
    await trace.until(/standard output is not read; \d+ messages were left out/);
    await trace.until(/^\d+ segments.*\nstatus 0$/m);
    for (const left of there.processes().filter((one) => one !== http.pid)) process.kill(left, 'SIGTERM');
    await trace.ended();
  });

  it('ends when its reader went away', async () => {
    await using trace = Running.shellOn('server', '"$@" trace -i eth0 | head -1; echo "status ${PIPESTATUS[0]}"');
    await trace.until(/tracing/);
    await vi.waitUntil(
      () => {
        fetchPage();
        return /status 141/.test(trace.output);
      },
      { timeout: 60_000 },
    );
    expect(await trace.ended()).toBe(0);
  });

  it('traces IPv6', async () => {
    await using trace = Running.seawallOn('server', 'trace', '-i', 'eth0', '--syn', '--count', '1');
    await trace.until(/tracing/);
    expect(fetchPage('http://[fd00::10]/')).toBe(true);
    await trace.until(/\[fd00::1\]:\d+ > \[fd00::10\]:80 SYN/);
  });
});
