/** The thread of `compileAhead`: compiles what a policy comes to on an interface, keeps it on disk and hands it back. */
import { parentPort, workerData } from 'node:worker_threads';
import type { Policy } from '../policy/policy.ts';
import { planGeneration } from './generation.ts';
import { type Compiled, compiledPrograms } from './load-programs.ts';

/** What the thread is given. */
export interface CompileRequest {
  readonly interfaceName: string;
  readonly policy: Policy;
}

const { interfaceName, policy } = workerData as CompileRequest;
const compiled: Compiled | undefined = compiledPrograms(planGeneration(interfaceName, policy).protection);
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port has none
parentPort!.postMessage(compiled);
