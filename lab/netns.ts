import { execFileSync, spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setNetworkNamespace, SyscallError } from '../src/ebpf/index.ts';

const DIRECTORY = '/run/netns';

/** Runs ip(8); its complaint becomes the error. */
export function ip(...args: string[]): string {
  try {
    return execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    const { stderr, code } = error as { stderr?: string; code?: string };
    const why = code === 'ENOENT' ? 'there is no ip command; install iproute2' : (stderr ?? '').trim();
    throw new Error(`ip ${args.join(' ')}: ${why}`, { cause: error });
  }
}

function enter(fd: number, what: string): void {
  const result = setNetworkNamespace(fd);
  if (!result.ok) {
    throw new SyscallError(
      'setns',
      result.errno,
      `enter ${what}: setns failed with ${result.errno}; namespaces need root (CAP_SYS_ADMIN)`,
    );
  }
}

/** A named network namespace, entered by setns on this thread alone, so that /sys and its pins stay as they are. */
export class Netns {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  get path(): string {
    return `${DIRECTORY}/${this.name}`;
  }

  get exists(): boolean {
    return existsSync(this.path);
  }

  create(): void {
    ip('netns', 'add', this.name);
    ip('-n', this.name, 'link', 'set', 'lo', 'up');
  }

  /** Ends every process inside, then removes the namespace. */
  remove(): void {
    if (!this.exists) return;
    for (const pid of this.processes()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // it ended by itself meanwhile
      }
    }
    ip('netns', 'del', this.name);
  }

  /** Processes whose network namespace this is. */
  processes(): number[] {
    const inode = this.run(() => readlinkSync('/proc/self/ns/net'));
    return readdirSync('/proc')
      .filter((entry) => /^\d+$/.test(entry) && Number(entry) !== process.pid)
      .filter((pid) => {
        try {
          return readlinkSync(`/proc/${pid}/ns/net`) === inode;
        } catch {
          return false; // it ended meanwhile, or is not ours to look at
        }
      })
      .map(Number);
  }

  /** Runs synchronous code inside. */
  run<T>(action: () => T): T {
    const home = openSync('/proc/self/ns/net', 'r');
    const inside = openSync(this.path, 'r');
    try {
      enter(inside, `namespace ${this.name}`);
      return action();
    } finally {
      enter(home, 'the namespace this began in');
      closeSync(inside);
      closeSync(home);
    }
  }

  /** Stays inside for the rest of this process. */
  enter(): void {
    const inside = openSync(this.path, 'r');
    enter(inside, `namespace ${this.name}`);
    closeSync(inside);
  }

  /** Starts a process inside. */
  spawn(command: string, args: readonly string[], options: SpawnOptions = {}): ChildProcess {
    return this.run(() => spawn(command, args, options));
  }

  ip(...args: string[]): string {
    return ip('-n', this.name, ...args);
  }

  readSysctl(name: string): string {
    return this.run(() => readFileSync(`/proc/sys/${name.replaceAll('.', '/')}`, 'utf8').trim());
  }
}
