import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { DiskCache, privateDirectory } from './cache.ts';

let parent: string;
let directory: string;

beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'seawall-cache-'));
  directory = join(parent, 'cache');
});
afterEach(() => {
  rmSync(parent, { recursive: true });
});

const onlyFile = (): string => join(directory, readdirSync(directory)[0]!);

it('gives back what was written, under its key alone, in files that only their owner can read', () => {
  const cache = new DiskCache(directory);
  expect(cache.read('key')).toBeUndefined();
  cache.write('key', 'two\nlines');
  expect(cache.read('key')).toBe('two\nlines');
  expect(cache.read('other')).toBeUndefined();
  expect([statSync(directory).mode & 0o777, statSync(onlyFile()).mode & 0o777]).toEqual([0o700, 0o600]);
});

it.each([
  ['a byte changed', () => writeFileSync(onlyFile(), readFileSync(onlyFile(), 'utf8').replace('text', 'texT'))],
  ['the end is missing', () => writeFileSync(onlyFile(), readFileSync(onlyFile(), 'utf8').slice(0, -1))],
  ['nothing is left', () => writeFileSync(onlyFile(), '')],
  ['others may write it', () => chmodSync(onlyFile(), 0o666)],
  ['others may write the directory', () => chmodSync(directory, 0o777)],
  [
    'it is a link',
    () => {
      const file = onlyFile();
      const moved = join(parent, 'moved');
      writeFileSync(moved, readFileSync(file), { mode: 0o600 });
      rmSync(file);
      symlinkSync(moved, file);
    },
  ],
  [
    'it is a directory of links',
    () => {
      const moved = join(parent, 'moved');
      new DiskCache(moved).write('key', 'text');
      rmSync(directory, { recursive: true });
      symlinkSync(moved, directory);
    },
  ],
])('takes for absent what is not as it left it: %s', (_what, harm) => {
  const cache = new DiskCache(directory);
  cache.write('key', 'text');
  harm();
  expect(cache.read('key')).toBeUndefined();
});

it('makes anew what was damaged, and keeps no more than a few', () => {
  const cache = new DiskCache(directory);
  cache.write('key', 'text');
  writeFileSync(onlyFile(), 'damaged');
  cache.write('key', 'text');
  expect(cache.read('key')).toBe('text');
  for (let index = 0; index < 40; index++) cache.write(`key ${String(index)}`, 'text');
  expect(readdirSync(directory)).toHaveLength(32);
  expect(cache.read('key 39')).toBe('text');
});

it('does without where nothing can be written', () => {
  const file = join(parent, 'file');
  writeFileSync(file, '');
  const cache = new DiskCache(join(file, 'cache'));
  cache.write('key', 'text');
  expect(cache.read('key')).toBeUndefined();
});

it('has a directory inside only where others can reach into neither', () => {
  const inside = join(directory, 'modules');
  expect(privateDirectory(inside)).toBe(inside);
  chmodSync(inside, 0o750);
  expect(privateDirectory(inside)).toBeUndefined();
  chmodSync(inside, 0o700);
  chmodSync(directory, 0o777);
  expect(privateDirectory(inside)).toBeUndefined();
  rmSync(inside, { recursive: true });
  symlinkSync(parent, inside);
  expect(privateDirectory(inside)).toBeUndefined();
});
