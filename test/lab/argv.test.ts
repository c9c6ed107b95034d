import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Netns } from '../../lab/netns.ts';
import { interfaceIndex, readInterface } from '../../src/ebpf/index.ts';
import { protectingProcess } from '../../src/engine/instance.ts';
import { Pins } from '../../src/engine/pins.ts';
import { ethernet, frame, ipv4, tcp } from '../../src/net/build.ts';
import { pcapHeader, pcapRecord } from '../../src/net/capture.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { CLI } from '../support/cli.ts';

/** How many commands are tried, so many of them at once. */
const COMMANDS = Number(process.env['COMMANDS'] ?? 60);
const AT_ONCE = 3;
/** What says that a command does its work, which it would go on with: it is stopped then. What says nothing is stopped in the end. */
const BEGUN = /^protecting |^\{"kind":"attached"|^tracing /m;
const STOP_MS = 60_000;
/** exit-status.ts; what is stopped before its program is loaded ends by the signal. */
const DOCUMENTED = [0, 2, 3, 4, 5, 6, 141];

const packet = frame([ethernet(), ipv4(), tcp({ flags: ['SYN'] })]);

/** Commands run where these lie. */
const files = [
  'policy.toml',
  'wrong.toml',
  'binary',
  'capture.pcap',
  'missing',
  '.',
  '/dev/zero',
  '/dev/full',
  '/proc/version',
];
const hostile = [
  '',
  '-',
  '--',
  '-1',
  '0',
  '1e9',
  'NaN',
  '__proto__',
  '../../etc',
  '\u001b[2J',
  '%s',
  'a\nb',
  '\u202e',
  'x'.repeat(100_000),
];
/** The interface of a host. */
const INTERFACE = 'eth0';
const values = fc.oneof(
  fc.constantFrom(...hostile, ...files),
  fc.constantFrom(
    'lo',
    INTERFACE,
    '1/s',
    '10k/s',
    '5',
    '80',
    '1-65535',
    'off',
    'always',
    'cookie',
    'reset',
    'generic',
    'verdicts',
  ),
  fc.string({ unit: 'binary', maxLength: 30 }).map((text) => text.replaceAll('\0', '')),
);
const verbs = ['run', 'check', 'replay', 'explain', 'detach', 'trace', 'demo', 'lab', 'help', '--version'];
const options = [
  ['-i'],
  ['-c'],
  ['--rate'],
  ['--burst'],
  ['--port'],
  ['--challenge'],
  ['--form'],
  ['--mode'],
  ['--log'],
  ['--packet'],
  ['--count'],
  ['--write-dropped'],
  ['-w'],
  ['--dry-run'],
  ['--json'],
  ['--asm'],
  ['--allow-lock-out'],
  ['--syn'],
  ['--help'],
  ['--no-such'],
] as const;
const word = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(fc.constantFrom(...options), values).map(([[option], value]) => [option, value]) },
  { weight: 1, arbitrary: fc.constantFrom(...options).map(([option]) => [option]) },
  { weight: 2, arbitrary: values.map((value) => [value]) },
);
/** What is nearly right reaches deepest. */
const plausible = fc.constantFrom(
  ['run', '-i', INTERFACE],
  ['run', '-i', INTERFACE, '-c', 'policy.toml'],
  ['trace', '-i', INTERFACE],
  ['check', 'policy.toml'],
  ['replay', 'capture.pcap'],
  ['explain', 'capture.pcap', '--packet', '1'],
  ['detach', '-i', INTERFACE],
  ['lab', 'flood'],
  ['lab', 'wait', 'server'],
  ['lab', 'exec', 'server', '--', 'true'],
);
const argv = fc
  .tuple(
    fc.oneof(
      plausible,
      fc.oneof(fc.constantFrom(...verbs), values).map((verb) => [verb]),
    ),
    fc.array(word, { maxLength: 4 }),
  )
  .map(([start, rest]) => [...start, ...rest.flat()])
  // These build a lab, or take the one that others use: with an option that they do not know they only read their arguments.
  .map((words) =>
    words[0] === 'demo' || (words[0] === 'lab' && !['flood', 'wait', 'exec'].includes(words[1]!))
      ? [...words, '--no-such']
      : words,
  );

/** A host that commands are tried on, with files of its own. */
class Host {
  readonly #netns: Netns;
  readonly #directory = mkdtempSync(join(tmpdir(), 'seawall-argv-'));

  constructor(name: string) {
    this.#netns = new Netns(name);
    this.#netns.remove();
    this.#netns.create();
    this.#netns.ip('link', 'add', INTERFACE, 'type', 'veth', 'peer', 'name', 'other');
  }

  /** Runs a command, over files as they are before: some commands overwrite them. */
  async call(words: readonly string[]): Promise<{ status: number | null; stopped: boolean; stderr: string }> {
    const write = (name: string, content: string | Buffer): void => {
      writeFileSync(join(this.#directory, name), content);
    };
    write('policy.toml', 'dry-run = true\n');
    write('wrong.toml', '[limits]\nsourse = false\n');
    write('binary', Buffer.from([0, 255, 254, 10, 0]));
    const record = pcapRecord({ time: 0n, data: packet, length: packet.length });
    write('capture.pcap', Buffer.concat([pcapHeader(), record]));
    const child = this.#netns.spawn(process.execPath, [CLI, ...words], {
      cwd: this.#directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const printed = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name]!.setEncoding('utf8').on('data', (text: string) => {
        printed[name] += text;
        if (BEGUN.test(printed[name])) child.kill();
      });
    }
    const stop = setTimeout(() => child.kill(), STOP_MS);
    const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    clearTimeout(stop);
    return { status, stopped: signal === 'SIGTERM', stderr: printed.stderr };
  }

  /** What a command left behind. */
  leftovers() {
    return this.#netns.run(() => ({
      xdp: readInterface(interfaceIndex(INTERFACE)!).xdp,
      pinned: new Pins(INTERFACE).exist,
      process: protectingProcess(INTERFACE),
    }));
  }

  remove(): void {
    this.#netns.remove();
    rmSync(this.#directory, { recursive: true });
  }
}

describeAsRoot('whatever it is called with', () => {
  it('ends with a documented status and a short message, and leaves nothing', async () => {
    const seed = Number(process.env['SEED'] ?? Date.now() & 0x7fff_ffff);
    const left = fc.sample(argv, { numRuns: COMMANDS, seed });
    const attend = async (host: Host): Promise<void> => {
      for (let words = left.pop(); words; words = left.pop()) {
        const { status, stopped, stderr } = await host.call(words);
        const what = `SEED=${String(seed)}: ${JSON.stringify(words).slice(0, 1000)}\n${stderr.slice(0, 3000)}`;
        if (!stopped) expect(DOCUMENTED, what).toContain(status);
        expect(stderr, what).not.toMatch(/^\s+at /m);
        expect(stderr, what).not.toContain('\u001b');
        expect(stderr.trimEnd().split('\n').length, what).toBeLessThanOrEqual(12);
        expect(host.leftovers(), what).toEqual({ xdp: {}, pinned: false, process: undefined });
      }
    };
    const hosts = Array.from({ length: AT_ONCE }, (_, index) => new Host(`seawall-argv-${String(index)}`));
    try {
      await Promise.all(hosts.map(attend));
    } finally {
      for (const host of hosts) host.remove();
    }
  });
});
