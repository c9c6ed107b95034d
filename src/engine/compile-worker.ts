/** The thread of `CompileThread`: compiles a policy's programs for an interface, stores them on disk and hands them back. */
import { parentPort } from 'node:worker_threads';
import type { Policy } from '../policy/policy.ts';
import { planGeneration } from './generation.ts';
import { type Compiled, compiledPrograms } from './load-programs.ts';

/** What the thread is given. */
export interface CompileRequest {
  readonly interfaceName: string;
  readonly policy: Policy;
}

function compile({ interfaceName, policy }: CompileRequest): Compiled | undefined {
  try {
    return compiledPrograms(planGeneration(interfaceName, policy).protection);
  } catch {
    return undefined;
  }
}

parentPort!.on('message', (request: CompileRequest) => {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port has none
  parentPort!.postMessage(compile(request));
});
