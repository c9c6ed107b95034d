import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { resolvePolicy } from '../policy/policy.ts';
import { PolicyError } from '../policy/policy-error.ts';
import { readLists } from './lists/lists.ts';
import { FileError, FileLimit, readRegularFile } from './regular-file.ts';

const directory = mkdtempSync(join(tmpdir(), 'seawall-file-'));
const path = (name: string): string => join(directory, name);
const server = createServer();

beforeAll(async () => {
  execFileSync('mkfifo', [path('fifo')]);
  mkdirSync(path('directory'));
  symlinkSync('/dev/zero', path('zero'));
  symlinkSync('loop', path('loop'));
  writeFileSync(path('huge'), '');
  truncateSync(path('huge'), FileLimit.LIST + 1);
  writeFileSync(path('good'), '10.0.0.0/8\n');
  writeFileSync(path('empty'), '');
  writeFileSync(path('wrong'), '# a list\n10.0.0.0/8 extra words\n');
  await new Promise<void>((resolve) => server.listen(path('socket'), resolve));
});
afterAll(() => {
  server.close();
  rmSync(directory, { recursive: true });
});

it.each(['fifo', 'directory', 'zero', 'loop', 'huge', 'socket', 'absent', 'good/x', '\x1b[2J\n', 'x'.repeat(5000)])(
  'refuses %j in one short line, as a policy, a list or a capture',
  (name) => {
    expect(() => readRegularFile(path(name), FileLimit.POLICY)).toThrow(FileError);
    for (const key of ['allow-files', 'deny-files']) {
      let error: unknown;
      try {
        readLists(resolvePolicy({ lists: { [key]: [path(name)] } }));
      } catch (caught) {
        error = caught;
      }
      expect(error).toBeInstanceOf(PolicyError);
      // eslint-disable-next-line no-control-regex
      expect((error as Error).message).toMatch(/^lists\.(allow|deny)-files\.0: read [^\0-\x1f]{1,450}$/);
    }
  },
);

it.each([
  '/dev/zero',
  '/dev/full',
  '/dev/tty',
  '/proc/self/environ',
  '/proc/kmsg',
  '/proc/self/mem',
  '/sys/kernel/uevent_seqnum',
  '/',
  '',
  '\0',
])('refuses %j', (name) => {
  expect(() => readRegularFile(name, FileLimit.CAPTURE)).toThrow(FileError);
});

it.each([
  ['list.gz', gzipSync('10.0.0.0/8\n'), /^read .*list\.gz: it is compressed with gzip; unpack it first \(gunzip\)$/],
  ['list.txt', Buffer.from('\ufeff10.0.0.0/8\n', 'utf16le'), /^read .*list\.txt: it is UTF-16; save it as UTF-8$/],
  [
    'big.txt',
    Buffer.from('\ufeff10.0.0.0/8\n', 'utf16le').swap16(),
    /^read .*big\.txt: it is UTF-16; save it as UTF-8$/,
  ],
])('says what to do with %s', (name, bytes, message) => {
  writeFileSync(path(name), bytes);
  expect(() => readRegularFile(path(name), FileLimit.LIST)).toThrow(message);
});

it('reads what is a file', () => {
  expect(readRegularFile(path('good'), FileLimit.POLICY).toString()).toBe('10.0.0.0/8\n');
  expect(readRegularFile(path('empty'), FileLimit.POLICY)).toHaveLength(0);
  expect(() => readRegularFile(path('good'), 10)).toThrow(/11 bytes are too many; up to 10 are read/);
  expect(() => readLists(resolvePolicy({ lists: { 'deny-files': [path('good'), path('wrong')] } }))).toThrow(
    `lists.deny-files.1: ${path('wrong')}:2: column 12: "extra words" follows the network`,
  );
});
