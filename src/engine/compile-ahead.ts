import { Worker } from 'node:worker_threads';
import type { Policy } from '../policy/policy.ts';
import type { CompileRequest } from './compile-worker.ts';
import { type Compiled, keepCompiled } from './load-programs.ts';

/**
 * A thread that compiles policies' programs for the next load, without blocking the event loop. It starts with the first of them, in the network
 * namespace of the caller, and stays: it does not compile the same functions again.
 */
export class CompileThread implements Disposable {
  #worker: Worker | undefined;
  /** One for each request that it has, in order. */
  readonly #waiting: (() => void)[] = [];
  #open = true;

  /** Compiles one. Never rejects: what fails here fails again, with its reason, where it is loaded. */
  compile(interfaceName: string, policy: Policy): Promise<void> {
    if (!this.#open) return Promise.resolve();
    const worker = (this.#worker ??= this.#start());
    worker.ref();
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has none
    worker.postMessage({ interfaceName, policy } satisfies CompileRequest);
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  #start(): Worker {
    const worker = new Worker(new URL('./compile-worker.js', import.meta.url));
    worker.on('message', (compiled: Compiled | undefined) => {
      if (compiled) keepCompiled(compiled);
      this.#waiting.shift()?.();
      if (this.#waiting.length === 0) worker.unref(); // an idle thread keeps no process
    });
    worker.on('error', () => {}); // it ends, and the next request starts another
    worker.on('exit', () => {
      this.#worker = undefined;
      for (const resolve of this.#waiting.splice(0)) resolve();
    });
    return worker;
  }

  [Symbol.dispose](): void {
    this.#open = false;
    void this.#worker?.terminate();
  }
}
