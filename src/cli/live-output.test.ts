import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { LiveOutput, type OutputHandlers } from './live-output.ts';

const KIB = 1024;
/** A line of one KiB, its end included. */
const line = (number: number): string => String(number).padEnd(KIB - 1, '.');

/** A pipe: both ends. Its writing end is opened for reading too, so that it never breaks. */
function pipe(): { readonly writer: number; readonly reader: number } {
  const directory = mkdtempSync(join(tmpdir(), 'seawall-pipe-'));
  const path = join(directory, 'pipe');
  execFileSync('mkfifo', [path]);
  const writer = openSync(path, 'r+');
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  rmSync(directory, { recursive: true });
  return { writer, reader };
}

const telling = (told: string[]): OutputHandlers => ({
  failed: ({ message }) => told.push(message),
  leftOut: (problem) => told.push(problem),
});

/** What is in a pipe now. */
function readAll(reader: number): string {
  const piece = Buffer.alloc(64 * KIB);
  let text = '';
  for (;;) {
    try {
      text += piece.toString('latin1', 0, readSync(reader, piece));
    } catch {
      return text; // empty
    }
  }
}

it('never waits for a reader, keeps a bounded piece for it, and counts the rest', async () => {
  const { writer, reader } = pipe();
  const told: string[] = [];
  {
    await using output = new LiveOutput(writer, telling(told));
    for (let number = 0; number < 3000; number++) output.print(line(number));
    let text = '';
    let ended = false;
    const written = output.written().then(() => (ended = true));
    await expect.poll(() => (text += readAll(reader)).length > 0 && ended, { interval: 1 }).toBe(true);
    await written;
    const lines = (text + readAll(reader)).trimEnd().split('\n');
    // A pipe's 64 KiB and a MiB, whole and in order.
    expect(lines.length).toBeGreaterThan(1000);
    expect(lines.length).toBeLessThanOrEqual(KIB + 64);
    expect(lines).toEqual(lines.map((_, number) => line(number)));
    expect(told).toEqual([]);
    output.print('last');
    expect(readAll(reader)).toBe('last\n');
  }
  expect(told).toEqual([expect.stringMatching(/standard output is not read; 1\d\d\d messages were left out$/)]);
  for (const end of [writer, reader]) closeSync(end);
});

it('gives up a reader that takes nothing, and tells of a device that is full', async () => {
  const { writer, reader } = pipe();
  const told: string[] = [];
  {
    await using output = new LiveOutput(writer, telling(told));
    for (let number = 0; number < 100; number++) output.print(line(number));
  }
  closeSync(writer);
  closeSync(reader);
  const full = openSync('/dev/full', 'w');
  {
    await using output = new LiveOutput(full, telling(told));
    output.print('first');
    output.print('second');
  }
  closeSync(full);
  expect(told).toEqual([
    expect.stringMatching(/ \d\d messages were left out$/),
    expect.stringMatching(/no space left on the device$/),
  ]);
});
