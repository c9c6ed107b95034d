import { closeSync, constants, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { printable, shorten } from '../net/quote.ts';

const MEBIBYTE = 1 << 20;
/** Bytes that a file of each kind may have: a policy of 1,024 services takes a fifth, ten million networks fit, captures are read whole. */
export const FileLimit = { POLICY: MEBIBYTE, LIST: 256 * MEBIBYTE, CAPTURE: 1024 * MEBIBYTE } as const;

/** A file that cannot or should not be read. */
export class FileError extends Error {
  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(`read ${printable(shorten(path, 300))}: ${reason}`, options);
    this.name = 'FileError';
  }
}

/** Kinds of files by their first bytes, and advice. */
const FOREIGN = [
  { first: [0x1f, 0x8b], says: 'it is compressed with gzip; unpack it first (gunzip)' },
  { first: [0xff, 0xfe], says: 'it is UTF-16; save it as UTF-8' },
  { first: [0xfe, 0xff], says: 'it is UTF-16; save it as UTF-8' },
] as const;

function systemReason(error: unknown): string {
  const { code = '', message } = error as NodeJS.ErrnoException;
  const known: Record<string, string> = {
    ENOENT: 'no such file',
    ENOTDIR: 'part of the path is not a directory',
    EACCES: 'permission denied',
    EPERM: 'permission denied',
    ELOOP: 'too many symbolic links',
    ENAMETOOLONG: 'the name is too long',
    ERR_INVALID_ARG_VALUE: 'the name contains a NUL',
    EMFILE: 'too many open files; raise the limit (ulimit -n)',
  };
  return known[code] ?? printable(shorten(message, 200));
}

/**
 * The bytes of a regular file, in one piece. Never blocks: pipes, sockets and devices are not opened. Also refused are files whose size does not
 * match their contents (in /proc, or while they are written), and compressed and UTF-16 files.
 * @throws FileError in one line.
 */
export function readRegularFile(path: string, limit: number): Buffer {
  let descriptor: number | undefined;
  try {
    if (!statSync(path).isFile()) throw new FileError(path, 'not a regular file');
    // It may have become something else meanwhile.
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) throw new FileError(path, 'not a regular file');
    if (stat.size > limit)
      throw new FileError(
        path,
        `${stat.size.toLocaleString('en')} bytes are too many; up to ${limit.toLocaleString('en')} are read`,
      );
    const bytes = Buffer.alloc(stat.size + 1);
    let filled = 0;
    for (let got = -1; got !== 0 && filled < bytes.length; filled += got)
      got = readSync(descriptor, bytes, filled, bytes.length - filled, null);
    if (filled !== stat.size)
      throw new FileError(
        path,
        'its size does not match its contents: it changed while it was read, or is not on a disk',
      );
    const foreign = FOREIGN.find(({ first }) => first.every((byte, index) => index < filled && bytes[index] === byte));
    if (foreign) throw new FileError(path, foreign.says);
    return bytes.subarray(0, filled);
  } catch (error) {
    if (error instanceof FileError) throw error;
    throw new FileError(path, systemReason(error), { cause: error });
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}
