/** Test files side by side: each is a process with mounts of its own, so that none sees another's namespaces, pins and instances. */
import { type ChildProcess, fork } from 'node:child_process';
import { ForksPoolWorker, type PoolOptions, type PoolRunnerInitializer } from 'vitest/node';

/** Empty /run/netns, /run/seawall and BPF file system, then Node. */
const MOUNTS = `
mkdir -p /run/netns /run/seawall
mount -t tmpfs tmpfs /run/netns
mount -t tmpfs tmpfs /run/seawall
mount -t bpf bpf /sys/fs/bpf
exec "$@"`;

class OwnMounts extends ForksPoolWorker {
  override start(): Promise<void> {
    const own: { _fork?: ChildProcess } = this as never; // private there, and created only where it is missing
    own._fork ??= fork(this.entrypoint, [], {
      env: this.env,
      execPath: 'unshare',
      execArgv: ['--mount', '--propagation=private', 'sh', '-ec', MOUNTS, 'sh', process.execPath, ...this.execArgv],
      stdio: 'pipe',
      serialization: 'advanced',
    });
    return super.start();
  }
}

/** A pool of processes. Without root there are no mounts, and the tests that need them are skipped. */
export const ownMounts: PoolRunnerInitializer | 'forks' =
  process.getuid?.() === 0
    ? { name: 'own-mounts', createPoolWorker: (options: PoolOptions) => new OwnMounts(options) }
    : 'forks';
