/** The verbs that need no interface. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { ethernet, frame, ipv4, tcp } from '../../src/net/build.ts';
import { pcapHeader, pcapRecord } from '../../src/net/capture.ts';
import type { TcpFlag } from '../../src/net/headers.ts';
import { parseFrame } from '../../src/net/parse.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { commandLines, type Finished, seawall } from '../support/cli.ts';

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

  it.each(['bpf', 'perfmon'])(
    'check without the capability %s says that this is missing, and not that the kernel is old',
    (name) => {
      const caps = `-${name},-sys_admin`;
      const policy = file('kernel.toml', '[challenge]\nmode = "always"\nform = "kernel"\nset-sysctls = true\n');
      const [{ status, stderr }] = commandLines(
        [['check', policy]],
        'setpriv',
        `--bounding-set=${caps}`,
        `--inh-caps=${caps}`,
      ) as [Finished];
      expect([status, stderr.trim().split('\n').length]).toEqual([3, 1]);
      expect(stderr).toMatch(/CAP_PERFMON/);
    },
  );

  it('check shows what a policy comes to', () => {
    const good = file('good.toml', '[[services]]\nname = "web"\nports = [80, "8000-8100"]\n');
    const [text, json, unlimited, slow] = commandLines([
      ['check', good],
      ['check', good, '--json', '--asm'],
      ['check', file('unlimited.toml', '[limits]\nservice = false\n')],
      ['check', file('slow.toml', '[challenge]\nmode = "off"\n'), '--verifier'],
    ]) as [Finished, Finished, Finished, Finished];
    expect([text, json, unlimited, slow].map(({ status }) => status)).toEqual([0, 0, 0, 0]);
    expect(text.stdout).toMatch(/program seawall: [\d,]+ instructions, [\d,]+ walked by the verifier/);
    expect(text.stdout).toMatch(/ {2}meter +\d/);
    expect(text.stdout).toMatch(/ {2}verified +4\.0 MiB/);
    expect(text.stdout).not.toContain('service web:');
    const { ok, assembly } = JSON.parse(json.stdout) as { ok: boolean; assembly: string };
    expect(ok).toBe(true);
    expect(assembly).toMatch(/call map_lookup_elem/);
    expect(unlimited.stdout).toMatch(/^service all: in the mode "auto" its limit turns challenges on/m);
    expect(slow.stdout).toMatch(/ {2}parse +[\d,]+ +\d/);
  });

  it('check refuses a policy that is wrong or cuts its operator off', () => {
    const own = (name: string, rate: string): string => `[[services]]\nname = "${name}"\nlimits.source = ${rate}\n`;
    const wrong = file('wrong.toml', '[limits]\nsourse = false\n');
    const deny = 'management = ["192.0.2.7"]\nchallenge.mode = "off"\n[lists]\ndeny = ["192.0.2.0/24"]\n';
    const cut = file('cut.toml', deny);
    const both = own('a', '{ rate = "10k/s", burst = 5 }') + own('b', '{ rate = "1/h", burst = 720 }');
    const apart = file('apart.toml', both);
    const list = file('list.toml', `[lists]\ndeny-files = [\n  "${file('deny.txt', '10.0.0.0/8 x\n')}",\n]\n`);
    const messages = [
      [wrong, `${wrong}:2: limits.sourse: unknown key; did you mean "source"?\n`],
      [cut, `${cut}:4: lists.deny: 192.0.2.0/24 would cut off 192.0.2.7, an address under management; add it to`],
      [cut, ' lists.allow, or run with --allow-lock-out\n'],
      [apart, `${apart}:6: services.1.limits.source: 1/h with a burst of 720 cannot share a meter with 10k/s`],
      [list, `${list}:3: lists.deny-files.0: ${directory}/deny.txt:1: column 12: "x" follows the network`],
    ] as const;
    const allowed = ['check', cut, '--allow-lock-out'];
    const [last, ...refused] = commandLines([allowed, ...messages.map(([path]) => ['check', path])]);
    expect(last!.status).toBe(0);
    for (const [at, { status, stderr }] of refused.entries()) {
      expect([status, stderr]).toEqual([2, expect.stringMatching(/^seawall: [^\n]*\n$/)]);
      expect(stderr).toContain(messages[at]![1]);
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
});
