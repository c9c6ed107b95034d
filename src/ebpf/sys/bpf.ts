import { SyscallError } from '../errors.ts';
import { BpfCommand } from '../uapi/constants.gen.ts';
import { attr, attribute } from './attr.ts';
import { Descriptor } from './descriptor.ts';
import { faultOf } from './fault.ts';
import { addressOf, bpf, type Result, withSignalsBlocked } from './libc.ts';

export type CommandName = keyof typeof BpfCommand;

/** What to do about an errno, where it means the same for every command. */
const ADVICE: Record<string, string> = {
  EPERM: 'run as root, or with CAP_BPF and CAP_NET_ADMIN (and CAP_PERFMON for programs that read kernel memory)',
  EACCES: 'run as root, or with CAP_BPF and CAP_NET_ADMIN',
  ENOMEM: 'the kernel has no memory for it: make the map smaller',
  E2BIG: 'it is too large: fewer entries, or a smaller program',
  ENOSPC: 'it is full',
  EMFILE: 'too many open files: raise the limit (ulimit -n)',
  ENODEV: 'there is no such interface in this network namespace',
  ENOENT: 'there is no such object',
};

/** The error of a failed command: which one, on what, why, and what to do. */
export function commandError(command: CommandName, what: string, errno: string, advice = ADVICE[errno]): SyscallError {
  return new SyscallError(
    `bpf(BPF_${command})`,
    errno,
    `${what}: bpf(BPF_${command}) failed with ${errno}${advice ? `; ${advice}` : ''}`,
  );
}

/** What the kernel breaks off where a signal waits for the thread: with EAGAIN (kernel/bpf/verifier.c) and EINTR (net/bpf/test_run.c). Profilers send many. */
const BROKEN_OFF_BY_SIGNALS: ReadonlySet<CommandName> = new Set<CommandName>(['PROG_LOAD', 'PROG_TEST_RUN']);

export function tryCommand(command: CommandName, attributes: Buffer): Result {
  const errno = faultOf(command);
  if (errno !== undefined) return { ok: false, errno };
  const run = (): Result => bpf(BpfCommand[command], attributes);
  return BROKEN_OFF_BY_SIGNALS.has(command) ? withSignalsBlocked(run) : run();
}

/** Runs a command. @throws SyscallError that names the action `what`. */
export function command(name: CommandName, attributes: Buffer, what: string): number {
  const result = tryCommand(name, attributes);
  if (!result.ok) throw commandError(name, what, result.errno);
  return result.value;
}

/** Makes an object of a descriptor that was just opened; where that fails, the descriptor is closed. */
export function adopt<T>(descriptor: Descriptor, make: (descriptor: Descriptor) => T): T {
  try {
    return make(descriptor);
  } catch (error) {
    descriptor[Symbol.dispose]();
    throw error;
  }
}

/** Runs a command that opens a descriptor. */
export function openCommand(name: CommandName, attributes: Buffer, what: string): Descriptor {
  return new Descriptor(command(name, attributes, what), what);
}

/** `struct bpf_*_info` of an object, in as many bytes as the kernel fills. */
export function objectInfo(fd: number, size: number, what: string): Buffer {
  const info = Buffer.alloc(size);
  command(
    'OBJ_GET_INFO_BY_FD',
    attribute(attr.info, { fd, length: size, info: addressOf(info) }),
    `read info of ${what}`,
  );
  return info;
}

/** The object with this number, as a descriptor. */
export function openById(
  name: 'PROG_GET_FD_BY_ID' | 'MAP_GET_FD_BY_ID' | 'LINK_GET_FD_BY_ID' | 'BTF_GET_FD_BY_ID',
  id: number,
): Descriptor {
  return openCommand(name, attribute(attr.id, { id }), `open ${name.split('_')[0]!.toLowerCase()} ${String(id)}`);
}
