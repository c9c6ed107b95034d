/** Limits over the whole path, from frame to verdict, against token buckets in plain arithmetic: no hashes, no cells, no arrival times. */
import { beforeAll, expect, it } from 'vitest';
import { pinToCpu } from '../../src/ebpf/index.ts';
import { addressBytes } from '../../src/net/address.ts';
import { ethernet, frame, ipv4, ipv6, tcp } from '../../src/net/build.ts';
import type { ReasonName } from '../../src/dataplane/outcome/reason.ts';
import type { PolicyInput } from '../../src/policy/schema.ts';
import type { Bucket, Service } from '../../src/policy/policy.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { ProgramUnderTest } from '../support/program-under-test.ts';
import { LINUX_SYN_OPTIONS } from '../../src/net/tcp-options.ts';
import { Random } from '../support/random-frame.ts';

const ROUNDS = Number(process.env['ROUNDS'] ?? 6);
const FRAMES = 1500;
const SEED = Number(process.env['SEED'] ?? 1);
const DAY = 86_400n * 1_000_000_000n;

/** A price is rounded up to whole ticks, of which an interval has 4096 or more. */
const TICKS = 4096n;

/** A bucket of so many tokens, full at first, into which one comes each interval; time in any unit. */
class TokenBucket {
  readonly #interval: bigint;
  readonly #full: bigint;
  #level: bigint;
  #at = 0n;
  admitted = 0;

  constructor(interval: bigint, burst: number) {
    this.#interval = interval;
    this.#full = interval * BigInt(burst);
    this.#level = this.#full;
  }

  has(now: bigint, tokens = 1): boolean {
    const more = this.#level + now - this.#at;
    this.#level = more < this.#full ? more : this.#full;
    this.#at = now;
    return this.#level >= this.#interval * BigInt(tokens);
  }

  take(now: bigint, tokens = 1): boolean {
    if (!this.has(now, tokens)) return false;
    this.#level -= this.#interval * BigInt(tokens);
    this.admitted++;
    return true;
  }
}

/** Buckets by key, of one kind of limit. */
class Buckets {
  readonly #tick: bigint;
  readonly #by = new Map<string, { exact: TokenBucket; ticking: TokenBucket }>();

  /** Limits of one kind share a tick: the largest power of two of which each interval has 4096. */
  constructor(all: readonly Bucket[]) {
    let tick = 1n;
    while (all.every(({ interval }) => interval >= tick * 2n * TICKS)) tick *= 2n;
    this.#tick = tick;
  }

  take(key: string, { interval, burst }: Bucket, now: bigint): boolean {
    const tick = this.#tick;
    let bucket = this.#by.get(key);
    bucket ??= {
      exact: new TokenBucket(interval, burst),
      ticking: new TokenBucket((interval + tick - 1n) / tick, burst),
    };
    this.#by.set(key, bucket);
    const taken = bucket.ticking.take(now / tick);
    // In nanoseconds there was a token as well, but for the part of a tick that the clock had passed.
    if (taken && !bucket.exact.take(now + tick)) throw new Error(`${key} was given more than its rate`);
    return taken;
  }
}

const SOURCES = [
  ...['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.1.1', '10.9.0.1', '192.0.2.7'].map((address) => ({
    family: 4,
    address,
  })),
  ...['fd00::1', 'fd00::2', 'fd00:0:0:1::1', '2001:db8::5', '2001:db8:0:1::5'].map((address) => ({
    family: 6,
    address,
  })),
] as readonly { family: 4 | 6; address: string }[];
const SERVICES = { web: 80, tls: 443 } as const;

/** The first bits of an address in binary, all 128 or 32 of them where none is given. */
function prefixOf({ family, address }: (typeof SOURCES)[number], bits = 128): string {
  const bytes = addressBytes(address);
  return `${String(family)} ${[...bytes]
    .map((byte) => byte.toString(2).padStart(8, '0'))
    .join('')
    .slice(0, bits)}`;
}

/** Rates that may share a meter, and bursts so small that a service gives out its tokens one by one. */
function randomPolicy(random: Random): PolicyInput {
  const bucket = (most: number) => ({
    rate: random.pick(['1/s', '2/s', '3/s', '7/s', '10/s', '30/m']),
    burst: 1 + random.below(most),
  });
  const [narrow, wide, routed] = [8 + random.below(25), random.pick([48, 56, 60]), 64];
  return {
    challenge: { mode: 'off' },
    services: Object.entries(SERVICES).map(([name, port]) => ({
      name,
      ports: [port],
      limits: {
        source: bucket(6),
        service: random.chance(0.7) ? bucket(15) : false,
        prefixes: [
          { family: 4, bits: narrow, ...bucket(12) },
          { family: 6, bits: wide, ...bucket(12) },
          { family: 6, bits: routed, ...bucket(12) },
        ],
      },
    })),
  };
}

describeAsRoot('limits and token buckets', () => {
  // A service's tokens are handed to CPUs.
  beforeAll(() => {
    pinToCpu(0);
  });

  it.each(Array.from({ length: ROUNDS }, (_, round) => SEED + round))('admit the same SYNs, seed %i', (seed) => {
    const random = new Random(seed);
    using kernel = new ProgramUnderTest(randomPolicy(random));
    const { services } = kernel.protection.policy;
    const of = (pick: (service: Service) => Bucket | undefined): Buckets =>
      new Buckets(services.flatMap((service) => pick(service) ?? []));
    const sources = of(({ limits }) => limits.source);
    const prefixes = services[0]!.limits.prefixes.map((_, at) => of(({ limits }) => limits.prefixes[at]));
    const totals = services.map(
      ({ limits: { service } }) => service && new TokenBucket(service.interval, service.burst),
    );
    const admitted = new Map<string, number>();
    let now = DAY;
    for (let index = 0; index < FRAMES; index++) {
      now += random.chance(0.9) ? BigInt(random.below(60_000_000)) : BigInt(random.below(3_000_000_000));
      const source = random.pick(SOURCES);
      const at = random.below(services.length);
      const { limits, name } = services[at]!;
      const expected = (): ReasonName => {
        const total = totals[at];
        if (total && !total.has(now)) return 'over-service';
        if (!sources.take(`${name} ${prefixOf(source)}`, limits.source!, now)) return 'over-source';
        for (const [which, prefix] of limits.prefixes.entries()) {
          if (prefix.family !== source.family) continue;
          if (!prefixes[which]!.take(`${name} ${prefixOf(source, prefix.bits)}`, prefix, now)) return 'over-prefix';
        }
        return !total || total.take(now) ? 'within-limit' : 'over-service';
      };
      const src = source.address;
      const ip = source.family === 4 ? ipv4({ src }) : ipv6({ src });
      const syn = frame([
        ethernet(),
        ip,
        tcp({ dest: SERVICES[name as keyof typeof SERVICES], flags: ['SYN'], options: LINUX_SYN_OPTIONS }),
      ]);
      const wanted = expected();
      const { reason } = kernel.at(now).judge(syn, wanted);
      if (reason !== wanted) expect({ index, reason }).toEqual({ index, reason: wanted });
      if (reason === 'within-limit') admitted.set(name, (admitted.get(name) ?? 0) + 1);
    }
    const passed = [...admitted.values()].reduce((sum, one) => sum + one, 0);
    expect(Math.min(passed, FRAMES - passed)).toBeGreaterThan(20);
    for (const [at, { name }] of services.entries())
      if (totals[at]) expect(admitted.get(name)).toBe(totals[at].admitted);
    kernel.checkTotals();
  });
});
