/**
 * Compiles the functions of the default policy, to be shipped: a first start emits its program and finds nearly all of it compiled. The
 * numbers that differ from host to host are replaceable, all but the limit of receive buffers. Does nothing where this build has them.
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DEFAULT_STACK } from '../src/dataplane/cookie/challenger.ts';
import { protection } from '../src/dataplane/pipeline.ts';
import { tickClock } from '../src/dataplane/state/clock.ts';
import { formatFunctions, FunctionCache, imageOf } from '../src/ebpf/index.ts';
import { sealed, shippedFile } from '../src/engine/shipped-functions.ts';
import { resolvePolicy } from '../src/policy/policy.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** Any number that takes a wide load; a host's is about as large. */
const CLOCK = tickClock(4_000_000n, -(1n << 54n));
/** Offsets are replaceable; which fields there are is not. */
const LISTENER = { mptcp: 2252, keys: [2264], buffer: 244, locks: 243, clamp: 1676, ratio: 1462 };
const FIELDS = { timeWaitNext: 124, acceptQueue: { length: 600, limit: 604 } };
/** For receive buffers of up to 6 MiB, Linux's own limit for long, and of 32 MiB, that of newer ones (`tcp_init`, net/ipv4/tcp.c). */
const BUFFERS = [
  { windowScale: 7, largest: 6 << 20 },
  { windowScale: 10, largest: 32 << 20 },
];

const file = ROOT + shippedFile();
if (!existsSync(file)) {
  const functions = new FunctionCache();
  for (const { windowScale, largest } of BUFFERS) {
    const stack = { ...DEFAULT_STACK, ...FIELDS, windowScale, listener: { ...LISTENER, largest } };
    const challenger = { form: 'assign', forms: { cookie: 'assign' }, stack, resetsOthers: true } as const;
    const { program, accept } = protection(resolvePolicy(), { clock: CLOCK, challenger });
    for (const spec of [program, accept!]) imageOf(spec, functions);
  }
  rmSync(dirname(file), { recursive: true, force: true });
  mkdirSync(dirname(file));
  writeFileSync(file, sealed(formatFunctions(functions.known, ROOT)));
}
