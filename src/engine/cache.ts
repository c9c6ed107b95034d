/**
 * Programs that were compiled before, on disk. Only root can use the directory and its files; damaged and foreign files, and those that are not plain
 * files, count as absent. Losing the cache costs time, nothing else. The kernel verifies these programs like all others.
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  type Stats,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';

/** Where it is: the host's cache, unless the environment names another directory. */
export const cacheDirectory = (): string => process.env['SEAWALL_CACHE'] ?? '/var/cache/seawall';

const MAX_BYTES = 8 << 20;
const MAX_FILES = 32;
const SUFFIX = '.cache';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** Whether only this user can have written it. */
const ours = ({ uid, mode }: Stats): boolean => uid === process.getuid!() && (mode & 0o077) === 0;

/** Whether a path is a directory that only this user can enter. @throws the file system's errors. */
function isPrivate(directory: string): boolean {
  const stats = lstatSync(directory);
  return stats.isDirectory() && ours(stats);
}

/** Makes a directory of the cache where it is missing; undefined where it is not to be trusted. */
export function privateDirectory(path: string): string | undefined {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return isPrivate(path) && isPrivate(dirname(path)) ? path : undefined;
  } catch {
    return undefined;
  }
}

/** Texts by key. */
export class DiskCache {
  readonly #directory: string;

  constructor(directory = cacheDirectory()) {
    this.#directory = directory;
  }

  /** The text under a key, if it is there and whole. */
  read(key: string): string | undefined {
    try {
      if (!this.#usable()) return undefined;
      const descriptor = openSync(this.#file(key), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      try {
        const stats = fstatSync(descriptor);
        if (!stats.isFile() || !ours(stats) || stats.nlink !== 1 || stats.size > MAX_BYTES) return undefined;
        const [head = '', ...rest] = readFileSync(descriptor, 'utf8').split('\n');
        const text = rest.join('\n');
        return head === sha256(`${key}\n${text}`) ? text : undefined;
      } finally {
        closeSync(descriptor);
      }
    } catch {
      return undefined; // not there, or not to be read
    }
  }

  /** Keeps a text under a key, and the newest of the others. */
  write(key: string, text: string): void {
    try {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      if (!this.#usable() || text.length > MAX_BYTES - 128) return;
      const unfinished = join(this.#directory, `.${randomBytes(8).toString('hex')}`);
      try {
        writeFileSync(unfinished, `${sha256(`${key}\n${text}`)}\n${text}`, { mode: 0o600, flag: 'wx' });
        renameSync(unfinished, this.#file(key));
      } finally {
        rmSync(unfinished, { force: true });
      }
      this.#tidy();
    } catch {
      // A full or read-only disk: the next start takes its time.
    }
  }

  #file(key: string): string {
    return join(this.#directory, `${sha256(key)}${SUFFIX}`);
  }

  #usable(): boolean {
    return isPrivate(this.#directory);
  }

  #tidy(): void {
    const files = readdirSync(this.#directory)
      .filter((name) => name.endsWith(SUFFIX))
      .map((name) => join(this.#directory, name))
      .map((path) => ({ path, time: lstatSync(path).mtimeMs }))
      .toSorted((a, b) => b.time - a.time);
    for (const { path } of files.slice(MAX_FILES)) rmSync(path, { force: true });
  }
}
