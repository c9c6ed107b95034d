import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { Netns } from '../../lab/netns.ts';
import { interfaceIndex, readInterface } from '../../src/ebpf/index.ts';
import { Instance, protectingProcess } from '../../src/engine/instance.ts';
import { interfaceKey } from '../../src/engine/pin-key.ts';
import { Pins } from '../../src/engine/pins.ts';
import { ethernet, frame, ipv4, tcp } from '../../src/net/build.ts';
import { pcapHeader, pcapRecord } from '../../src/net/capture.ts';
import type { TcpFlag } from '../../src/net/headers.ts';
import { parseFrame } from '../../src/net/parse.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { CLI, fetchPage, httpServer, on, Running, seawall, seawallOn } from '../support/cli.ts';

const serverNamespace = new Netns('seawall-server');
/** Signals every `seawall run` on the server. */
function signalRuns(signal: NodeJS.Signals): void {
  for (const pid of serverNamespace.processes()) {
    if (readFileSync(`/proc/${String(pid)}/cmdline`, 'latin1').includes('main.js\0run')) process.kill(pid, signal);
  }
}
const attached = (): object => serverNamespace.run(() => readInterface(interfaceIndex('eth0')!).xdp);

describe('help and mistakes', () => {
  it.each([[[]], [['run']], [['trace']], [['lab']], [['lab', 'flood']], [['demo']]])('%j --help', (verb) => {
    const { status, stdout } = seawall(...verb, '--help');
    expect(status).toBe(0);
    expect(stdout).toMatch(/^Usage: seawall/);
  });

  it.each([
    [['run'], 2, /name an interface with -i, or in the policy/],
    [['run', '-i', 'eth0', '--rate', 'fast'], 2, /"fast" is not a rate; .* for example 1\/s/],
    [['run', '-i', 'eth0', '--burst', '0'], 2, /--burst: "0" is not a whole number from 1/],
    [['run', '-i', 'eth0', '--port', 'http'], 2, /--port: "http"/],
    [['run', '-i', 'eth0', '--mode', 'fast'], 2, /auto, native, generic/],
    [['run', '-i', 'lo', '-i', 'eth0'], 2, /^seawall: run: -i, --interface <name> is given twice/],
    [['run', '-i', 'lo', '--port', '80', '--port=443'], 2, /^seawall: run: --port <list> is given twice/],
    [['run', 'eth0'], 2, /^seawall: run: "eth0" is not expected; seawall run --help lists the options/],
    [['run', '-i', 'eth0', '--port', '80', '443'], 2, /^seawall: run: "443" is not expected/],
    [['run', '--rates', '1/s'], 2, /^seawall: run: unknown option '--rates'; did you mean --rate\?$/m],
    [['nonsense'], 2, /^seawall: unknown command 'nonsense'/],
    [['rnu'], 2, /^seawall: unknown command 'rnu'; did you mean run\?$/m],
    [['help', 'rnu'], 2, /^seawall: unknown command 'rnu'; seawall --help lists them/],
    [['check', '/nosuch.toml'], 2, /^seawall: read \/nosuch.toml: no such file$/m],
    [[], 2, /no command given; seawall --help lists them/],
    [['lab'], 2, /no command given; seawall lab --help lists them/],
    [['trace', '-i', '../../etc'], 2, /-i: .*no slash/],
    [['detach', '-i', 'sixteen-bytes-xx'], 2, /-i: .*1 to 15 bytes/],
    [['run', '-i', 'a b'], 2, /-i: .*no white space/],
  ])('%j ends with status %i and one line', (args, expected, message) => {
    const { status, stderr } = seawall(...args);
    expect([status, stderr.trim().split('\n').length]).toEqual([expected, 1]);
    expect(stderr).toMatch(message);
  });

  it('says that it needs root', () => {
    const cli = new URL('../../dist/src/cli/main.js', import.meta.url).pathname;
    const args = ['--reuid=65534', '--clear-groups', process.execPath, cli];
    const canDrop = process.getuid?.() === 0;
    const run = (...rest: string[]): { status: number | null; stderr: string } =>
      canDrop ? spawnSync('setpriv', [...args, ...rest], { encoding: 'utf8' }) : seawall(...rest);
    for (const verb of [['demo'], ['lab', 'up'], ['run', '-i', 'lo'], ['trace', '-i', 'lo'], ['detach', '-i', 'lo']]) {
      const { status, stderr } = run(...verb);
      expect({ verb, status }).toEqual({ verb, status: 3 });
      expect(stderr).toMatch(/root/);
      expect(stderr.trim().split('\n')).toHaveLength(1);
    }
  });
});

describeAsRoot('without a lab', () => {
  const pidFile = `/run/seawall/${interfaceKey('lo')}.pid`;
  it.each([['flood'], ['wait', 'server', '--packets', '1'], ['exec', 'server', '--', 'true']])(
    'lab %s says so',
    (...args) => {
      seawall('lab', 'down');
      const { status, stderr } = seawall('lab', ...args);
      expect(status).toBe(2);
      expect(stderr).toMatch(/^seawall: .*the lab is not up; run seawall lab up\n$/);
    },
  );

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
    const child = spawn(process.execPath, [CLI, 'run', '-i', 'lo', '--challenge', 'off']);
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
    // SigCgt (proc(5)): the signals that a process catches.
    const caught = (signal: number): boolean => {
      const [, mask] = /^SigCgt:\s*(\w+)/m.exec(readFileSync(`/proc/${String(child.pid)}/status`, 'latin1'))!;
      return ((BigInt(`0x${mask!}`) >> BigInt(signal - 1)) & 1n) === 1n;
    };
    await vi.waitUntil(() => caught(constants.signals.SIGHUP), { timeout: 20_000, interval: 1 });
    expect(protectingProcess('lo')).toBeUndefined();
    for (const signal of ['SIGHUP', 'SIGUSR1'] as const) child.kill(signal);
    await vi.waitUntil(() => output.includes('protecting lo'), { timeout: 20_000 });
    child.kill('SIGUSR1');
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
    expect(output).not.toContain('Debugger');
  });

  it('leaves no file that it could not write, and names it', () => {
    const { status, stderr } = spawnSync('bash', ['-c', `ulimit -f 0; "$0" "$1" run -i lo`, process.execPath, CLI], {
      encoding: 'utf8',
    });
    expect([status, stderr]).toEqual([4, `seawall: protect lo: use ${pidFile}: EFBIG: file too large, write\n`]);
    expect(existsSync(pidFile)).toBe(false);
  });
});

describeAsRoot('in the lab', () => {
  const directory = mkdtempSync(join(tmpdir(), 'seawall-lab-'));
  beforeAll(() => {
    seawall('lab', 'down');
    expect(seawall('lab', 'up').status).toBe(0);
  });
  afterAll(() => {
    seawall('lab', 'down');
    rmSync(directory, { recursive: true });
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
    expect(on('client', 'ping', '-c', '1', '-W', '1', 'fd00::10').status === 0 || !existsSync('/bin/ping')).toBe(true);
    expect(on('nobody' as 'client', 'true').stderr).toMatch(/no such host; there are client and server/);
    expect(on('client', 'sh', '-c', 'exit 7').status).toBe(7);
  });

  it('replay never writes over the capture that it reads', () => {
    const capture = join(directory, 'only.pcap');
    const data = frame([ethernet(), ipv4(), tcp()]);
    const bytes = Buffer.concat([pcapHeader(), pcapRecord({ time: 0n, data, length: data.length })]);
    writeFileSync(capture, bytes);
    const { status, stderr } = seawall('replay', capture, '--write-dropped', join(directory, '.', 'only.pcap'));
    expect([status, stderr]).toEqual([
      2,
      expect.stringMatching(/^seawall: --write-dropped: .* is the file that is read/),
    ]);
    expect(readFileSync(capture).equals(bytes)).toBe(true);
  });

  it('mends what a crash left behind', () => {
    execFileSync('ip', ['netns', 'del', 'seawall-client']);
    expect(seawall('lab', 'up').stdout).toMatch(/the lab is up/);
    expect(on('client', 'true').status).toBe(0);
  });

  it('lets curl through an unprotected interface as often as it likes', async () => {
    await using _http = await httpServer();
    for (let round = 0; round < 7; round++) expect(fetchPage()).toBe(true);
  });

  it.each(['native', 'generic'])(
    'stops the sixth SYN of a source on the wire, in %s mode, and prints each',
    async (mode) => {
      await using _http = await httpServer();
      await using run = Running.seawallOn(
        'server',
        'run',
        '-i',
        'eth0',
        '--rate',
        '1/h',
        '--challenge',
        'off',
        '--mode',
        mode,
        '--log',
        'verdicts',
      );
      await run.until(new RegExp(`protecting eth0 \\(${mode} mode, \\d+ instructions\\)`));
      const fetched = Array.from({ length: 6 }, () => fetchPage());
      expect(fetched).toEqual([true, true, true, true, true, false]);
      await run.until(/DROP/);
      const left = [...run.output.matchAll(/tokens (\d)\/5 (PASS|DROP) \(([\w-]+)\)/g)].map((match) =>
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
      expect(await run.stop('SIGTERM')).toBe(0);
      expect(run.output).toMatch(/passed \d+, dropped [1-9]\d*, challenged 0 \(.*within-limit 5, over-source \d+\)/);
      expect(attached()).toEqual({});
    },
  );

  it('gives tokens back with time', async () => {
    await using _http = await httpServer();
    await using run = Running.seawallOn(
      'server',
      'run',
      '-i',
      'eth0',
      '--rate',
      '30/m',
      '--burst',
      '1',
      '--challenge',
      'off',
      '--log',
      'verdicts',
      '--json',
    );
    await run.until(/"kind":"attached"/);
    expect(fetchPage('http://10.0.0.10/', 5)).toBe(true); // the retry of a dropped SYN finds a token
    expect(fetchPage('http://10.0.0.10/', 5)).toBe(true);
    await run.until(/"reason":"over-source"/);
    await run.stop();
    const lines = run.output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { kind: string; reasons?: Record<string, number> });
    expect(lines.at(-1)).toMatchObject({ kind: 'totals' });
    expect(lines.at(-1)!.reasons!['within-limit']).toBe(2);
  });

  it('protects only the ports it is told to, and drops nothing in a dry run', async () => {
    await using _http = await httpServer();
    {
      await using run = Running.seawallOn(
        'server',
        'run',
        '-i',
        'eth0',
        '--burst',
        '1',
        '--rate',
        '1/h',
        '--port',
        '443',
      );
      await run.until(/protecting/);
      expect([fetchPage(), fetchPage()]).toEqual([true, true]);
    }
    await using dry = Running.seawallOn(
      'server',
      'run',
      '-i',
      'eth0',
      '--burst',
      '1',
      '--rate',
      '1/h',
      '--challenge',
      'off',
      '--dry-run',
    );
    await dry.until(/dry run: nothing is dropped/);
    expect([fetchPage(), fetchPage(), fetchPage()]).toEqual([true, true, true]);
    await dry.stop();
    expect(dry.output).toMatch(/dropped 0, challenged 0, would have dropped 2 and challenged 0/);
  });

  it('refuses a second instance, and names the first', async () => {
    await using run = Running.seawallOn('server', 'run', '-i', 'eth0', '--challenge', 'off');
    await run.until(/protecting/);
    const second = seawallOn('server', 'run', '-i', 'eth0');
    expect(second.status).toBe(4);
    expect(second.stderr).toMatch(/protect eth0: process \d+ does already; stop it \(kill \d+\)/);
    const trace = seawallOn('server', 'trace', '-i', 'eth0');
    expect([trace.status, trace.stderr]).toEqual([
      4,
      expect.stringMatching(/^seawall: trace eth0: process \d+ protects it/),
    ]);
    expect(second.stderr.trim().split('\n')).toHaveLength(1);
    expect(await run.stop()).toBe(0);
  });

  it('stays in force when it is killed, and the next run takes it over with its counters', async () => {
    await using _http = await httpServer();
    const run = Running.seawallOn('server', 'run', '-i', 'eth0', '--rate', '1/h', '--challenge', 'off');
    await run.until(/protecting/);
    expect(Array.from({ length: 6 }, () => fetchPage())).toEqual([true, true, true, true, true, false]);
    signalRuns('SIGKILL');
    await run.ended();
    expect(attached()).not.toEqual({});
    expect(fetchPage()).toBe(false);
    await using next = Running.seawallOn('server', 'run', '-i', 'eth0', '--rate', '1/h', '--challenge', 'off');
    await next.until(/protecting/);
    expect(fetchPage()).toBe(false);
    await next.stop();
    expect(next.output).toMatch(/within-limit 5, over-source \d+\)/);
    expect(attached()).toEqual({});
  });

  it('reads its policy again on SIGHUP, and keeps the old one where the new one is wrong', async () => {
    await using _http = await httpServer();
    const file = join(directory, 'policy.toml');
    const write = (text: string): void => {
      writeFileSync(file, text);
    };
    write('[challenge]\nmode = "off"\n');
    await using run = Running.seawallOn('server', 'run', '-i', 'eth0', '-c', file);
    await run.until(/protecting/);
    expect(fetchPage()).toBe(true);
    const hangUp = (): void => {
      signalRuns('SIGHUP');
    };
    write('[lists]\ndeny = ["10.0.0.0/8"]\n\n[challenge]\nmode = "offf"\n');
    hangUp();
    await run.until(/reload: .*policy\.toml:5: challenge\.mode: "offf" is not allowed; did you mean "off"\?/);
    expect(fetchPage()).toBe(true);
    write('[lists]\ndeny = ["10.0.0.0/8"]\n\n[challenge]\nmode = "off"\n');
    hangUp();
    await run.until(/read again and in force/);
    expect(fetchPage()).toBe(false);
  });

  it('takes a storm of SIGHUPs as a few reloads, the last of which is in force', async () => {
    const file = join(directory, 'storm.toml');
    writeFileSync(file, 'dry-run = true\n');
    await using run = Running.seawallOn('server', 'run', '-i', 'eth0', '-c', file, '--json');
    await run.until(/"attached"/);
    const pid = Number(serverNamespace.run(() => protectingProcess('eth0')));
    for (let count = 0; count < 500; count++) process.kill(pid, 'SIGHUP');
    writeFileSync(file, 'dry-run = false\n');
    process.kill(pid, 'SIGHUP');
    await run.until(/"reloaded".*dry-run = false/);
    expect(await run.stop()).toBe(0);
    expect(run.output.match(/"reloaded"/g)!.length).toBeLessThan(50);
  });

  it.each<[string, () => boolean]>([
    ['has said that it protects', () => serverNamespace.run(() => protectingProcess('eth0') !== undefined)],
    ['has pinned', () => serverNamespace.run(() => new Pins('eth0').exist)],
    ['is attached', () => Object.keys(attached()).length > 0],
  ])('stopped during its start, once it %s, it leaves nothing', async (_, reached) => {
    await using run = Running.seawallOn('server', 'run', '-i', 'eth0');
    await vi.waitUntil(reached, { timeout: 20_000, interval: 1 });
    signalRuns('SIGTERM');
    expect(await run.ended()).toBe(0);
    expect(attached()).toEqual({});
    serverNamespace.run(() => {
      expect(new Pins('eth0').exist).toBe(false);
      expect(protectingProcess('eth0')).toBeUndefined();
    });
  });

  it('prints no more where its reader went away, and protects on', async () => {
    const script = `"$0" "$1" run -i eth0 --challenge off --log verdicts | head -1`;
    await using run = new Running(process.execPath, [
      CLI,
      'lab',
      'exec',
      'server',
      '--',
      'bash',
      '-c',
      script,
      process.execPath,
      CLI,
    ]);
    await run.until(/protecting eth0/);
    await using _http = await httpServer();
    expect(fetchPage()).toBe(true);
    await run.until(/the protection goes on, and prints nothing more/);
    expect(fetchPage()).toBe(true);
    expect(attached()).not.toEqual({});
    signalRuns('SIGTERM');
    await run.ended();
    expect(attached()).toEqual({});
    expect(run.output).not.toMatch(/^ {4}at /m);
  });

  it('goes on and ends in time while its output is not read', async () => {
    const file = join(directory, 'unread.toml');
    writeFileSync(file, 'events.rate = "1M/s"\nchallenge.mode = "off"\n');
    const script = '"$0" "$@" | { read -r line; echo "$line"; exec sleep 100; }';
    const command = [process.execPath, CLI, 'run', '-i', 'eth0', '--log', 'verdicts', '-c', file];
    await using run = new Running(process.execPath, [
      CLI,
      'lab',
      'exec',
      'server',
      '--',
      'bash',
      '-c',
      script,
      ...command,
    ]);
    await run.until(/protecting eth0/);
    // More lines than a pipe holds.
    expect(seawall('lab', 'flood', '--rate', '20000', '--seconds', '1', '--sources', 'random').status).toBe(0);
    writeFileSync(file, 'nonsense = 1\n');
    const pid = Number(serverNamespace.run(() => protectingProcess('eth0')));
    process.kill(pid, 'SIGHUP');
    await run.until(/reload: .*unread\.toml:1: nonsense: unknown key/);
    process.kill(pid, 'SIGTERM');
    await run.until(/standard output is not read; \d+ messages were left out/);
    await vi.waitFor(() => {
      expect([attached(), serverNamespace.run(() => protectingProcess('eth0'))]).toEqual([{}, undefined]);
    });
    for (const left of serverNamespace.processes()) process.kill(left, 'SIGTERM');
    await run.ended();
  });

  it.each(['> /dev/full', '>&-'])('runs with its output %s, and says so at most once', async (redirection) => {
    const script = `exec "$0" "$1" run -i eth0 ${redirection}`;
    await using run = new Running(process.execPath, [
      CLI,
      'lab',
      'exec',
      'server',
      '--',
      'bash',
      '-c',
      script,
      process.execPath,
      CLI,
    ]);
    await vi.waitUntil(() => Object.keys(attached()).length > 0, { timeout: 20_000 });
    signalRuns('SIGTERM');
    expect(await run.ended()).toBe(0);
    expect(attached()).toEqual({});
    expect(run.output.match(/standard output/g) ?? []).toHaveLength(redirection === '>&-' ? 0 : 1);
    expect(run.output).not.toMatch(/^ {4}at /m);
  });

  it('takes no harm from an SSH_CONNECTION that names no address', async () => {
    const file = join(directory, 'deny.toml');
    writeFileSync(file, '[lists]\ndeny = ["10.0.0.0/8"]\n');
    const script = `SSH_CONNECTION="UNKNOWN 65535 UNKNOWN 65535" exec "$0" "$1" run -i eth0 -c ${file}`;
    await using run = new Running(process.execPath, [
      CLI,
      'lab',
      'exec',
      'server',
      '--',
      'bash',
      '-c',
      script,
      process.execPath,
      CLI,
    ]);
    await run.until(/protecting eth0/);
  });

  it.each([
    ['trace', ['trace', '-i', 'eth0', '-w', '/proc/version']],
    ['trace', ['trace', '-i', 'eth0', '-w', '/nowhere/file\nname']],
    ['trace', ['trace', '-i', 'eth0', '-w', '/dev/full']],
  ])('%s says in one line that it cannot write a file: %j', (_, args) => {
    const { status, stderr } = seawallOn('server', ...args);
    expect(stderr).toMatch(/^seawall: write \/.*: .*\n$/);
    expect([3, 4]).toContain(status);
    expect(attached()).toEqual({});
  });

  it('traces the handshake of one curl from both sides, and writes what tcpdump reads', async () => {
    await using _http = await httpServer();
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

  it('ends a trace that is stopped with its count', async () => {
    await using trace = Running.seawallOn('server', 'trace', '-i', 'eth0');
    await trace.until(/tracing/);
    expect(await trace.stop('SIGTERM')).toBe(0);
    expect(trace.output).toMatch(/^\d+ segments$/m);
  });

  /** A trace on the server in a shell script, where it is "$@". */
  const traceIn = (script: string): Running =>
    new Running(
      process.execPath,
      [CLI, 'lab', 'exec', 'server', '--', 'bash', '-c', script].concat(process.execPath, CLI, 'trace', '-i', 'eth0'),
    );

  it('ends a trace that is stopped while nobody reads its lines', async () => {
    await using trace = traceIn(
      '{ "$0" "$@" & echo "pid $!" >&2; wait $!; echo "status $?" >&2; } | { read -r line; exec sleep 100; }',
    );
    await trace.until(/tracing/);
    const pid = Number((await trace.until(/pid (\d+)/))[1]);
    // More lines than a pipe holds.
    expect(seawall('lab', 'flood', '--rate', '20000', '--seconds', '1', '--sources', 'random').status).toBe(0);
    process.kill(pid, 'SIGTERM');
    await trace.until(/standard output is not read; \d+ messages were left out/);
    await trace.until(/^\d+ segments.*\nstatus 0$/m);
    for (const left of serverNamespace.processes()) process.kill(left, 'SIGTERM');
    await trace.ended();
  });

  it('ends a trace whose reader went away', async () => {
    await using trace = traceIn('"$0" "$@" | head -1; echo "status ${PIPESTATUS[0]}"');
    await trace.until(/tracing/);
    await vi.waitUntil(
      () => {
        fetchPage();
        return /status 141/.test(trace.output);
      },
      { timeout: 20_000 },
    );
    expect(await trace.ended()).toBe(0);
  });

  it('traces IPv6', async () => {
    await using _http = await httpServer();
    await using trace = Running.seawallOn('server', 'trace', '-i', 'eth0', '--syn', '--count', '1');
    await trace.until(/tracing/);
    expect(fetchPage('http://[fd00::10]/')).toBe(true);
    await trace.until(/\[fd00::1\]:\d+ > \[fd00::10\]:80 SYN/);
  });

  it('floods the lab and nothing else, at the rate it is told', () => {
    const { sent, received, pps } = JSON.parse(
      seawall('lab', 'flood', '--rate', '20000', '--seconds', '2', '--sources', 'random', '--json').stdout,
    ) as Record<string, number>;
    expect(pps).toBeLessThanOrEqual(20_001);
    expect(sent).toBeGreaterThan(10_000);
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
    expect(seawall('lab', 'flood', '--rate', '100', '--seconds', '2', '--sources', 'random').status).toBe(0);
    await dump.ended();
    expect(dump.output).toMatch(/cksum 0x[0-9a-f]+ \(correct\).*mss 1460,sackOK,TS val \d+ ecr 0,nop,wscale 7/);
    expect(dump.output).not.toMatch(/incorrect|bad cksum/);
    expect(
      new Set([...dump.output.matchAll(/(\d+\.\d+\.\d+\.\d+)\.\d+ > 10\.0\.0\.10/g)].map((match) => match[1])).size,
    ).toBeGreaterThan(10);
  });

  it('notices that its interface is gone', async () => {
    await using run = Running.seawallOn('server', 'run', '-i', 'eth0');
    await run.until(/protecting/);
    serverNamespace.ip('link', 'del', 'eth0');
    expect(await run.ended()).toBe(4);
    expect(run.output).toMatch(/protect eth0: the interface is gone/);
    seawall('lab', 'down');
    seawall('lab', 'up');
  });
});

describeAsRoot('demo', () => {
  it('shows the whole story, in JSON, and removes everything', () => {
    const { status, stdout, stderr } = seawall('demo', '--seconds', '2', '--rate', '100000', '--json');
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(JSON.parse(stdout)).toMatchObject({
      flood: { offeredPps: expect.any(Number), sources: 'one', seconds: 2 },
      quiet: { legit: { succeeded: 100 }, office: { succeeded: 100 } },
      unprotected: { legit: { attempted: 100 } },
      protected: {
        legit: {
          attempted: 100,
          succeeded: 100,
          successRate: 1,
          connectMsP50: expect.any(Number),
          connectMsP99: expect.any(Number),
        },
        verdicts: { pass: expect.any(Number), drop: expect.any(Number), answer: expect.any(Number) },
        nsPerPacket: expect.any(Number),
      },
    });
    const { verdicts } = (JSON.parse(stdout) as { protected: { verdicts: { drop: number; answer: number } } })
      .protected;
    expect(verdicts.drop + verdicts.answer).toBeGreaterThan(100_000);
    expect(existsSync('/run/netns/seawall-demo-client')).toBe(false);
  });

  it('removes everything when it is stopped on the way', async () => {
    await using run = Running.seawall('demo', '--seconds', '60', '--rate', '1000');
    await run.until(/> quiet/);
    expect(await run.stop('SIGINT')).not.toBe(0);
    expect(run.output.trim().split('\n').at(-1)).toBe('seawall: demo stopped; the lab is removed');
    expect(existsSync('/run/netns/seawall-demo-client')).toBe(false);
  });
});

describeAsRoot('policies and captures', () => {
  const directory = mkdtempSync(join(tmpdir(), 'seawall-policy-'));
  afterAll(() => {
    rmSync(directory, { recursive: true });
  });
  const file = (name: string, content: string | Buffer): string => {
    const path = join(directory, name);
    writeFileSync(path, content);
    return path;
  };
  const capture = (frames: readonly Buffer[]): Buffer =>
    Buffer.concat([
      pcapHeader(),
      ...frames.map((data, index) =>
        pcapRecord({ time: 1_700_000_000_000_000_000n + BigInt(index) * 1000n, data, length: data.length }),
      ),
    ]);
  const syn = (src = '10.0.0.1', flags: readonly TcpFlag[] = ['SYN']): Buffer =>
    frame([ethernet(), ipv4({ src }), tcp({ flags, options: [{ kind: 'mss', size: 1460 }] })]);

  it('check shows what a policy comes to, and refuses one that is wrong or cuts its operator off', () => {
    const good = file('good.toml', '[[services]]\nname = "web"\nports = [80, "8000-8100"]\n');
    const { status, stdout } = seawall('check', good);
    expect(status).toBe(0);
    expect(stdout).toMatch(/program seawall: [\d,]+ instructions, [\d,]+ walked by the verifier/);
    expect(stdout).toMatch(/ {2}meter +\d/);
    expect(stdout).toMatch(/ {2}verified +4\.0 MiB/);
    expect(stdout).not.toContain('service web:');
    const unlimited = file('unlimited.toml', '[limits]\nservice = false\n');
    expect(seawall('check', unlimited).stdout).toMatch(
      /^service all: in the mode "auto" its limit turns challenges on/m,
    );
    const slow = file('slow.toml', '[challenge]\nmode = "off"\n');
    expect(seawall('check', slow, '--verifier').stdout).toMatch(/ {2}parse +[\d,]+ +\d/);
    const json = JSON.parse(seawall('check', good, '--json', '--asm').stdout) as { ok: boolean; assembly: string };
    expect(json.ok).toBe(true);
    expect(json.assembly).toMatch(/call map_lookup_elem/);
    const wrong = seawall('check', file('wrong.toml', '[limits]\nsourse = false\n'));
    expect([wrong.status, wrong.stderr]).toEqual([
      2,
      `seawall: ${directory}/wrong.toml:2: limits.sourse: unknown key; did you mean "source"?\n`,
    ]);
    const cut = file('cut.toml', 'management = ["192.0.2.7"]\n[lists]\ndeny = ["192.0.2.0/24"]\n');
    const refused = seawall('check', cut);
    expect([refused.status, refused.stderr]).toEqual([
      2,
      `seawall: ${cut}:3: lists.deny: 192.0.2.0/24 would cut off 192.0.2.7, an address under management; add it to lists.allow, or run with --allow-lock-out\n`,
    ]);
    expect(seawall('check', cut, '--allow-lock-out').status).toBe(0);
    const own = (name: string, rate: string): string => `[[services]]\nname = "${name}"\nlimits.source = ${rate}\n`;
    const apart = file(
      'apart.toml',
      own('a', '{ rate = "10k/s", burst = 5 }') + own('b', '{ rate = "1/h", burst = 720 }'),
    );
    const list = file('list.toml', `[lists]\ndeny-files = [\n  "${file('deny.txt', '10.0.0.0/8 x\n')}",\n]\n`);
    for (const [path, place] of [
      [apart, `${apart}:6: services.1.limits.source: 1/h with a burst of 720 cannot share a meter with 10k/s`],
      [list, `${list}:3: lists.deny-files.0: ${directory}/deny.txt:1: column 12: "x" follows the network`],
    ] as const) {
      const { status: judged, stderr } = seawall('check', path);
      expect([judged, stderr]).toEqual([2, expect.stringMatching(/^[^\n]*\n$/)]);
      expect(stderr).toContain(`seawall: ${place}`);
    }
  });

  it('replay runs a capture through the program, and writes what would be dropped', () => {
    const frames = [
      ...Array.from({ length: 7 }, () => syn()),
      syn('10.0.0.2', ['SYN', 'FIN']),
      syn('10.0.0.3', ['ACK']),
    ];
    const path = file('syns.pcap', capture(frames));
    const dropped = join(directory, 'dropped.pcapng');
    const { status, stdout } = seawall('replay', path, '--challenge', 'off', '--json', '--write-dropped', dropped);
    expect(status).toBe(0);
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines[0]).toEqual({
      n: 1,
      time: '1700000000.000000000',
      verdict: 'pass',
      reason: 'within-limit',
      service: 'all',
      tokens: { before: 5, after: 4 },
    });
    expect(lines.at(-1)).toEqual({
      totals: { pass: { 'within-limit': 5, 'not-syn': 1 }, drop: { 'over-source': 2, 'syn-fin': 1 } },
    });
    const read = execFileSync('tcpdump', ['-nr', dropped], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    expect(read.trim().split('\n')).toHaveLength(3);
    const answered = seawall('replay', path, '--json')
      .stdout.trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { verdict?: string; reply?: string });
    const answer = answered.find(({ verdict }) => verdict === 'answer');
    expect(parseFrame(Buffer.from(answer!.reply!, 'hex')).tcp).toMatchObject({ flags: 0x12, ack: 2 });
    const broken = seawall('replay', file('broken.pcap', capture(frames).subarray(0, 60)));
    expect(broken.status).toBe(2);
    expect(broken.stderr).toMatch(/broken\.pcap: read capture: .*, at byte \d+/);
    expect(seawall('replay', file('none.pcap', 'nothing')).stderr).toMatch(
      /neither a pcap nor a pcapng file, at byte 0/,
    );
  });

  it('explain shows what decided on a packet', () => {
    const path = file('six.pcap', capture(Array.from({ length: 6 }, () => syn())));
    const { stdout } = seawall('explain', path, '--packet', '6', '--challenge', 'off');
    expect(stdout).toMatch(/^packet 6: DROP \(over-source\): over the limit of its source/);
    expect(stdout).toMatch(/^ {2}parse +58 bytes, type 0x0800, IPv4 10\.0\.0\.1 > 10\.0\.0\.10/m);
    expect(stdout).toMatch(/^> limits +source 1\/s, burst 5, tokens 0 > 0$/m);
    const json = JSON.parse(seawall('explain', path, '--packet', '6', '--challenge', 'off', '--json').stdout) as {
      stages: { stage: string; says: string }[];
    };
    expect(json).toMatchObject({ n: 6, verdict: 'drop', reason: 'over-source' });
    expect(json.stages.at(-1)).toEqual({ stage: 'limits', says: 'source 1/s, burst 5, tokens 0 > 0' });
    expect(seawall('explain', path, '--packet', '7').stderr).toMatch(/fewer than 7 packets/);
  });

  it('detach says when there is nothing', () => {
    const { status, stderr } = seawall('detach', '-i', 'lo');
    expect([status, stderr]).toEqual([2, 'seawall: detach: nothing is pinned for lo in this network namespace\n']);
  });
});
