/**
 * Compiles the functions of the default policy, to be shipped: a first start emits its program and finds nearly all of it compiled. The
 * numbers that differ from host to host are replaceable, all but the limit of receive buffers. Does nothing where this build has them.
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { commonHosts } from '../src/dataplane/cookie/common-hosts.ts';
import { protection } from '../src/dataplane/pipeline.ts';
import { tickClock } from '../src/dataplane/state/clock.ts';
import { formatFunctions, FunctionCache, imageOf } from '../src/ebpf/index.ts';
import { sealed, shippedFile } from '../src/engine/shipped-functions.ts';
import { resolvePolicy } from '../src/policy/policy.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** Any number that takes a wide load; a host's is about as large. */
const CLOCK = tickClock(4_000_000n, -(1n << 54n));
const file = ROOT + shippedFile();
if (!existsSync(file)) {
  const functions = new FunctionCache();
  for (const challenger of commonHosts) {
    const { program, accept } = protection(resolvePolicy(), { clock: CLOCK, challenger });
    for (const spec of [program, accept!]) imageOf(spec, functions);
  }
  rmSync(dirname(file), { recursive: true, force: true });
  mkdirSync(dirname(file));
  writeFileSync(file, sealed(formatFunctions(functions.known, ROOT)));
}
