import { codeFrame, type SourceLocation } from './source-location.ts';

/** Every error code of the toolkit, with its meaning. `docs/ebpf.md` lists the same table. */
export const errorCodes = {
  SYSCALL: 'a system call failed; `errno` names the reason',
  VERIFIER: 'the kernel refused a program; the message shows the TypeScript line',
  UNSUPPORTED: 'this kernel lacks a feature; `since` names the release that has it',
  DSL: 'a program was written wrongly; the message shows the TypeScript line',
} as const;

export type ErrorCode = keyof typeof errorCodes;

/** The parent of every error that Seawall raises on purpose. The message reads "verb noun: reason", then what to do. */
export abstract class SeawallError extends Error {
  /** One of `errorCodes`; users of the toolkit may add codes of their own. */
  abstract readonly code: string;

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** A system call that failed: which call, on which object, the errno by name, and what to do about it. */
export class SyscallError extends SeawallError {
  readonly code = 'SYSCALL';
  readonly call: string;
  readonly errno: string;

  constructor(call: string, errno: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.call = call;
    this.errno = errno;
  }
}

/** What this kernel cannot do. `since` is the first release that can. */
export class UnsupportedError extends SeawallError {
  readonly code = 'UNSUPPORTED';
  readonly feature: string;
  readonly since: string;

  constructor(feature: string, since: string, options?: ErrorOptions) {
    super(`use ${feature}: this kernel has no such feature; it came with Linux ${since}`, options);
    this.feature = feature;
    this.since = since;
  }
}

/** A program that was written wrongly. `location` is the author's line. */
export class DslError extends SeawallError {
  readonly code = 'DSL';
  readonly location: SourceLocation | undefined;

  constructor(reason: string, location?: SourceLocation) {
    super(location ? `${reason}\n${codeFrame(location)}` : reason);
    this.location = location;
  }
}
