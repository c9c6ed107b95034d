#!/usr/bin/env node
/**
 * The entry. It imports nothing statically: Node prints a stack trace for a module that it cannot load, for example without free descriptors, unless
 * the import is inside `try`.
 */
import { readFileSync, writeSync } from 'node:fs';
import type { load as loadCommandLine } from './command-line.ts';

/**
 * The same in a few files (`scripts/bundle.ts`), for the verbs of the product: finding and reading hundreds of files takes longer than the rest of a
 * start.
 */
async function bundled(): Promise<{ readonly load: typeof loadCommandLine }> {
  return (await import(new URL('./bundle/command-line.js', import.meta.url).href)) as {
    readonly load: typeof loadCommandLine;
  };
}

/** Statuses of `exit-status.ts`, which may be what cannot be loaded. */
const [UNEXPECTED, SYSTEM] = [1, 4];

/** Modules are opened all at once, at most about a hundred. */
const ENOUGH_DESCRIPTORS = 256;

/** Whether descriptors ran out. Node tells it of a file that it cannot open, and calls a package missing that it cannot look up. */
function descriptorsRanOut(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'EMFILE' || code === 'ENFILE') return true;
  try {
    const [, limit] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? [];
    return Number(limit) < ENOUGH_DESCRIPTORS;
  } catch (failed) {
    return (failed as NodeJS.ErrnoException).code === 'EMFILE';
  }
}

/** Ends the process with one line for a program that cannot be loaded. */
function endUnloaded(error: unknown): never {
  const ranOut = descriptorsRanOut(error);
  const reason = ranOut
    ? 'too many open files; raise the limit (ulimit -n 1024)'
    : `${String(error).split('\n')[0]!}; install it again`;
  try {
    writeSync(2, `seawall: load the program: ${reason}\n`);
  } catch {
    // Closed or full.
  }
  process.exit(ranOut ? SYSTEM : UNEXPECTED);
}

// Node would open its debugger, through which every user of the host could run code here.
process.on('SIGUSR1', () => {});
// Without a handler Node would end.
if (process.argv[2] === 'run') process.on('SIGHUP', () => {});
// Each file that is being loaded is rejected by itself, and only one of them is ours to catch.
process.on('unhandledRejection', endUnloaded);
let run: () => Promise<void>;
try {
  const { cacheModules } = await import('./module-cache.ts');
  cacheModules();
  const { VERBS } = await import('./verbs.ts');
  const { load } = await (Object.hasOwn(VERBS, process.argv[2] ?? '') ? bundled() : import('./command-line.ts'));
  run = await load();
} catch (error) {
  endUnloaded(error);
}
process.off('unhandledRejection', endUnloaded);
await run();
