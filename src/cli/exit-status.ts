import { SeawallError, SyscallError } from '../ebpf/index.ts';
import { printable, shorten } from '../net/quote.ts';
import { PolicyError } from '../policy/policy-error.ts';
import { complain, OutputError } from './output.ts';

/** Exit statuses by class of error; `--help` prints them. */
export const ExitStatus = {
  OK: 0,
  UNEXPECTED: 1,
  USAGE: 2,
  PERMISSION: 3,
  SYSTEM: 4,
  UNSUPPORTED: 5,
  PROGRAM: 6,
  /** As of a program that SIGPIPE ended. */
  UNREAD: 141,
} as const;

export const exitStatusHelp = `
Exit status: 0 done, 1 unexpected error, 2 wrong option, 3 not permitted (run as root), 4 the system refused,
5 this kernel lacks a feature, 6 the program was refused, 141 the reader of the output went away.`;

/** A mistake in how the command was called. */
export class UsageError extends Error {}

/** A command that needs root, without it. */
class PermissionError extends Error {}

function statusOf(error: unknown): number {
  if (error instanceof UsageError || error instanceof PolicyError) return ExitStatus.USAGE;
  if (error instanceof OutputError) return error.closed ? ExitStatus.UNREAD : ExitStatus.SYSTEM;
  if (error instanceof PermissionError) return ExitStatus.PERMISSION;
  if (error instanceof SyscallError)
    return error.errno === 'EPERM' || error.errno === 'EACCES' ? ExitStatus.PERMISSION : ExitStatus.SYSTEM;
  if (error instanceof SeawallError) {
    const statuses: Readonly<Record<string, number>> = {
      SYSCALL: ExitStatus.SYSTEM,
      VERIFIER: ExitStatus.PROGRAM,
      DSL: ExitStatus.PROGRAM,
      UNSUPPORTED: ExitStatus.UNSUPPORTED,
      POLICY: ExitStatus.USAGE,
    };
    return statuses[error.code] ?? ExitStatus.UNEXPECTED;
  }
  // What Node says of its own system calls.
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (syscall !== undefined) return code === 'EPERM' || code === 'EACCES' ? ExitStatus.PERMISSION : ExitStatus.SYSTEM;
  return ExitStatus.UNEXPECTED;
}

const LONGEST = 8000;

/** Prints what went wrong, in one line for what the user can mend, and sets the exit status. */
export function reportError(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  const fromNode = error instanceof Error && 'syscall' in error && 'code' in error;
  const advice = fromNode && error.code === 'EMFILE' ? '; raise the limit (ulimit -n)' : '';
  process.exitCode = statusOf(error);
  if (process.exitCode === ExitStatus.UNREAD) return;
  complain(`seawall: ${printable(shorten(message + advice, LONGEST), '\n\t')}`);
}

/** @throws PermissionError without root. */
export function requireRoot(what: string): void {
  if (process.getuid?.() !== 0) throw new PermissionError(`${what} needs root: run it with sudo`);
}
