/** Generates and loads the default protection in a fresh process and prints how many milliseconds that took. */
import { Program } from '../src/ebpf/index.ts';
import { protection } from '../src/dataplane/pipeline.ts';
import { resolvePolicy } from '../src/policy/policy.ts';

const start = performance.now();
using _program = Program.load(protection(resolvePolicy()).program);
console.log(performance.now() - start);
