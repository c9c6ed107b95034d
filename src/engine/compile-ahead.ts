import { Worker } from 'node:worker_threads';
import type { Policy } from '../policy/policy.ts';
import type { CompileRequest } from './compile-worker.ts';
import { type Compiled, keepCompiled } from './load-programs.ts';

/**
 * Compiles a policy's programs in a thread of its own, in the network namespace of the caller, so that the next load takes them and the
 * event loop is not held up. `ended` stops it. Never rejects: what fails here fails again, with its reason, where it is loaded.
 */
export function compileAhead(interfaceName: string, policy: Policy, ended: AbortSignal): Promise<void> {
  const workerData: CompileRequest = { interfaceName, policy };
  return new Promise((resolve) => {
    const worker = new Worker(new URL('./compile-worker.js', import.meta.url), { workerData });
    worker.on('message', (compiled: Compiled | undefined) => {
      if (compiled) keepCompiled(compiled);
    });
    worker.on('error', () => {}); // the thread ends
    const stop = (): void => void worker.terminate();
    ended.addEventListener('abort', stop);
    worker.on('exit', () => {
      ended.removeEventListener('abort', stop);
      resolve();
    });
  });
}
