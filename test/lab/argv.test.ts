import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Netns } from '../../lab/netns.ts';
import { interfaceIndex, readInterface } from '../../src/ebpf/index.ts';
import { protectingProcess } from '../../src/engine/instance.ts';
import { Pins } from '../../src/engine/pins.ts';
import { ethernet, frame, ipv4, tcp } from '../../src/net/build.ts';
import { pcapHeader, pcapRecord } from '../../src/net/capture.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { CLI } from '../support/cli.ts';

/** How long commands are tried, and how long one may run before it is stopped. */
const BUDGET_MS = Number(process.env['FUZZ_SECONDS'] ?? 25) * 1000;
const STOP_MS = 3000;
/** exit-status.ts; what is stopped before its program is loaded ends by the signal. */
const DOCUMENTED = [0, 2, 3, 4, 5, 6, 141];

const directory = mkdtempSync(join(tmpdir(), 'seawall-argv-'));
const inside = (name: string): string => join(directory, name);
const packet = frame([ethernet(), ipv4(), tcp({ flags: ['SYN'] })]);

const files = [
  inside('policy.toml'),
  inside('wrong.toml'),
  inside('binary'),
  inside('capture.pcap'),
  inside('missing'),
  directory,
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
const values = fc.oneof(
  fc.constantFrom(...hostile, ...files),
  fc.constantFrom(
    'lo',
    'eth0',
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
  ['run', '-i', 'lo'],
  ['run', '-i', 'lo', '-c', inside('policy.toml')],
  ['trace', '-i', 'lo'],
  ['check', inside('policy.toml')],
  ['replay', inside('capture.pcap')],
  ['explain', inside('capture.pcap'), '--packet', '1'],
  ['detach', '-i', 'lo'],
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

/** Some commands overwrite them. */
function writeFiles(): void {
  writeFileSync(inside('policy.toml'), 'dry-run = true\n');
  writeFileSync(inside('wrong.toml'), '[limits]\nsourse = false\n');
  writeFileSync(inside('binary'), Buffer.from([0, 255, 254, 10, 0]));
  writeFileSync(
    inside('capture.pcap'),
    Buffer.concat([pcapHeader(), pcapRecord({ time: 0n, data: packet, length: packet.length })]),
  );
}

describeAsRoot('whatever it is called with', () => {
  const netns = new Netns('seawall-argv');
  beforeAll(() => {
    netns.remove();
    netns.create();
  });
  afterAll(() => {
    netns.remove();
    rmSync(directory, { recursive: true });
  });

  it('ends with a documented status and a short message, and leaves nothing', () => {
    const seed = Number(process.env['SEED'] ?? Date.now() & 0x7fff_ffff);
    const deadline = performance.now() + BUDGET_MS;
    for (const words of fc.sample(argv, { numRuns: 1000, seed })) {
      if (performance.now() > deadline) break;
      writeFiles();
      const { status, signal, stderr, error } = netns.run(() =>
        spawnSync(process.execPath, [CLI, ...words], {
          cwd: directory,
          encoding: 'utf8',
          timeout: STOP_MS,
          maxBuffer: 1 << 26,
        }),
      );
      const stopped = (error as { code?: string } | undefined)?.code === 'ETIMEDOUT';
      const what = `SEED=${String(seed)}: ${JSON.stringify(words).slice(0, 1000)}\n${stderr.slice(0, 3000)}`;
      if (!(stopped && signal === 'SIGTERM')) expect(DOCUMENTED, what).toContain(status);
      expect(stderr, what).not.toMatch(/^\s+at /m);
      expect(stderr, what).not.toContain('\u001b');
      expect(stderr.trimEnd().split('\n').length, what).toBeLessThanOrEqual(12);
      netns.run(() => {
        expect(readInterface(interfaceIndex('lo')!).xdp, what).toEqual({});
        expect(new Pins('lo').exist, what).toBe(false);
        expect(protectingProcess('lo'), what).toBeUndefined();
      });
    }
  });
});
