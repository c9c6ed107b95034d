/** The lab's own processes: flooders, clients, servers. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { pinToCpu } from '../src/ebpf/index.ts';
import type { Netns } from './netns.ts';

const path = (script: string): string => fileURLToPath(new URL(script, import.meta.url));

/** Processes that all end with this. */
export class Workers implements Disposable {
  readonly #children = new Set<ChildProcess>();

  /** Starts a script of this folder in a namespace, on one core where that is given. */
  start(netns: Netns, script: string, args: readonly string[], cpu?: number): ChildProcess {
    const child = netns.run(() => fork(path(script), args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] }));
    if (cpu !== undefined && child.pid !== undefined) pinToCpu(cpu, child.pid);
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return child;
  }

  /** The one message that a worker sends. */
  async message<T>(child: ChildProcess, what: string): Promise<T> {
    return await new Promise((resolve, reject) => {
      child.once('message', (message) => {
        resolve(message as T);
      });
      child.once('exit', (code) => {
        reject(new Error(`run ${what}: it ended with ${String(code)} before it reported`));
      });
    });
  }

  [Symbol.dispose](): void {
    for (const child of this.#children) child.kill('SIGKILL');
  }
}
