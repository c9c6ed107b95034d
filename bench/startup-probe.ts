/** Generates and loads the default protection in a fresh process and prints how many milliseconds that took. */
import { Program } from '../src/ebpf/index.ts';
import { protection } from '../src/dataplane/program.ts';
import { checkLimits } from '../src/policy/limits.ts';

const start = performance.now();
using _program = Program.load(protection(checkLimits()).program);
console.log(performance.now() - start);
