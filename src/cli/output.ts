/** Printing for all verbs, with errors for a closed reader and a full disk. */
import { writeSync } from 'node:fs';

/** Standard output takes nothing more. */
export class OutputError extends Error {
  /** The reader went away (`| head`), which is not an error. */
  readonly closed: boolean;

  constructor(cause: NodeJS.ErrnoException) {
    super(`print: standard output: ${cause.code === 'ENOSPC' ? 'no space left on the device' : cause.message}`, {
      cause,
    });
    this.name = 'OutputError';
    this.closed = cause.code === 'EPIPE';
  }
}

const RETRY_MS = 5;
const nobody = new Int32Array(new SharedArrayBuffer(4));

/** Writes a whole text; retries on a non-blocking terminal or pipe. */
function write(descriptor: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(descriptor, bytes, at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      Atomics.wait(nobody, 0, 0, RETRY_MS);
    }
  }
}

/** Writes to standard output, as it is. @throws OutputError */
export function printRaw(text: string): void {
  try {
    write(1, text);
  } catch (error) {
    throw new OutputError(error as NodeJS.ErrnoException);
  }
}

/** Writes a line, or lines, to standard output. @throws OutputError, which ends a verb that only prints. */
export function print(text: string): void {
  printRaw(`${text}\n`);
}

/** Writes a line to standard error, and ignores errors. */
export function complain(text: string): void {
  try {
    write(2, `${text}\n`);
  } catch {
    // Closed or full.
  }
}
