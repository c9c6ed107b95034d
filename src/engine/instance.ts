import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { lockFile, SyscallError } from '../ebpf/index.ts';
import { interfaceKey } from './pin-key.ts';

const { O_CREAT, O_NOFOLLOW, O_RDWR } = constants;
const DIRECTORY = '/run/seawall';

/** When a process began, in ticks since boot (proc(5), field 22): with its number it is one process and no other. */
function beginning(pid: number): string | undefined {
  try {
    const fields = readFileSync(`/proc/${String(pid)}/stat`, 'latin1').split(') ')[1];
    return fields?.split(' ')[19];
  } catch {
    return undefined;
  }
}

const fileOf = (interfaceName: string): string => `${DIRECTORY}/${interfaceKey(interfaceName)}.pid`;

/** The number of the process that protects an interface now; undefined where none does. */
export function protectingProcess(interfaceName: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(fileOf(interfaceName), 'latin1');
  } catch {
    return undefined; // there is no such file
  }
  const [pid = '', began] = text.split(' ');
  return began !== undefined && beginning(Number(pid)) === began ? pid : undefined;
}

/**
 * The claim of this process to an interface, until it is disposed of; one process at a time has it. A lock on the file decides, which ends with its
 * process; the contents tell others its number. Other users cannot open the file, and so cannot lock it.
 */
export class Instance implements Disposable {
  readonly #interface: string;
  readonly #file: string;
  readonly #descriptor: number;

  /** @throws SyscallError that names the process which protects it already, or the file that cannot be written. */
  constructor(interfaceName: string) {
    this.#interface = interfaceName;
    this.#file = fileOf(interfaceName);
    this.#explaining(() => mkdirSync(dirname(this.#file), { recursive: true }));
    this.#descriptor = this.#openLocked();
    try {
      this.#explaining(() => {
        ftruncateSync(this.#descriptor);
        writeSync(this.#descriptor, `${String(process.pid)} ${beginning(process.pid) ?? ''}`, 0);
      });
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  #openLocked(): number {
    for (;;) {
      const descriptor = this.#explaining(() => openSync(this.#file, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600));
      const locked = lockFile(descriptor);
      const pid = protectingProcess(this.#interface);
      // Seawall before 0.3 locks nothing.
      if (locked && pid === undefined && isStill(descriptor, this.#file)) return descriptor;
      closeSync(descriptor);
      if (!locked || pid !== undefined) throw protectedAlready(this.#interface, pid);
    }
  }

  /** What Node says of a file that it cannot use, in one line that names it. */
  #explaining<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      const { code = 'EINVAL', syscall = 'open', message } = error as NodeJS.ErrnoException;
      const reason = `protect ${this.#interface}: use ${this.#file}: ${message}`;
      throw new SyscallError(syscall, code, reason, { cause: error });
    }
  }

  /** The file is removed before the lock is released: a process that locks a removed file can see that. */
  [Symbol.dispose](): void {
    rmSync(this.#file, { force: true });
    closeSync(this.#descriptor);
  }
}

/** Whether a file still has its name: the former holder of the lock may have removed it. */
function isStill(descriptor: number, file: string): boolean {
  return statSync(file, { throwIfNoEntry: false })?.ino === fstatSync(descriptor).ino;
}

function protectedAlready(interfaceName: string, pid: string | undefined): SyscallError {
  const told =
    pid === undefined
      ? 'another process does already'
      : `process ${pid} does already; stop it (kill ${pid}), or let it read its policy again (kill -HUP ${pid})`;
  return new SyscallError('run', 'EBUSY', `protect ${interfaceName}: ${told}`);
}
