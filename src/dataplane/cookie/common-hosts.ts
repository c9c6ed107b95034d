import { type Challenger, DEFAULT_STACK } from './challenger.ts';

/** Offsets of Linux 6.18; other kernels have the same fields elsewhere. */
const FIELDS = { timeWaitNext: 124, acceptQueue: { length: 600, limit: 604 } };
const LISTENER = { mptcp: 2252, keys: [2264], buffer: 244, locks: 243, clamp: 1676, ratio: 1462 };
/** Receive buffers of up to 6 MiB, Linux's own limit for long, and of 32 MiB, that of newer ones (`tcp_init`, net/ipv4/tcp.c). */
const BUFFERS = [
  { windowScale: 7, largest: 6 << 20 },
  { windowScale: 10, largest: 32 << 20 },
];

/** What most hosts come to with the default policy: functions for them are shipped compiled (`scripts/compile-functions.ts`). */
export const commonHosts: readonly Challenger[] = BUFFERS.map(({ windowScale, largest }) => ({
  form: 'assign',
  forms: { cookie: 'assign' },
  stack: { ...DEFAULT_STACK, ...FIELDS, windowScale, listener: { ...LISTENER, largest } },
  resetsOthers: true,
  knowsHost: true,
}));
