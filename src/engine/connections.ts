/** What the programs may ask of this host's connections. */
import { closeSync, openSync, readSync } from 'node:fs';
import { probeKernelFunction } from '../ebpf/index.ts';
import type { Policy } from '../policy/policy.ts';
import type { Connections } from '../dataplane/state/connections.ts';

/** What of its connections this host can be asked for; nothing where a service leaves it to us, and translated connections could not be told from strays. */
export function settleConnections({ services }: Pick<Policy, 'services'>): Connections | undefined {
  const tracking = probeKernelFunction('bpf_xdp_ct_lookup', '6.0').available;
  if (!tracking && services.some(({ state }) => state === 'auto')) return undefined;
  return { tracking, knowsHost: true };
}

const COUNT = '/proc/sys/net/netfilter/nf_conntrack_count';
const LOOK_EVERY_MS = 1000;
/** For how long what was seen holds: nanoseconds. */
const HOLDS = 3_000_000_000n;

/**
 * Sees every second whether the connection tracking of the network namespace that it was made in knows anything, and tells until when it
 * need not be asked: nanoseconds of the monotonic clock, 0 where it has to be.
 */
export class TrackingWatch implements Disposable {
  readonly #tell: (until: bigint) => void;
  readonly #fd: number | undefined;
  readonly #timer: NodeJS.Timeout | undefined;

  constructor(tell: (until: bigint) => void) {
    this.#tell = tell;
    try {
      this.#fd = openSync(COUNT, 'r');
    } catch {
      return; // nothing that could be seen, so the program asks
    }
    this.#timer = setInterval(() => {
      this.#look();
    }, LOOK_EVERY_MS).unref();
  }

  #look(): void {
    const text = Buffer.alloc(16);
    const length = readSync(this.#fd!, text, 0, text.length, 0);
    const nothing = length > 0 && Number(text.toString('latin1', 0, length)) === 0;
    this.#tell(nothing ? process.hrtime.bigint() + HOLDS : 0n);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    if (this.#fd !== undefined) closeSync(this.#fd);
  }
}
