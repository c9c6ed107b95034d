/** The units in which 32-bit cells count time. */
import { PolicyError } from '../../policy/policy-error.ts';
import type { Bucket, Policy, Service } from '../../policy/policy.ts';

/** An interval has at least this many ticks, so that rounding a price up costs a quarter of a thousandth at most. */
const TICKS_PER_INTERVAL_BITS = 12;
/** The largest share of the 32 bits that a full bucket may take: stale cells are recognised by lying outside it. */
const SPAN_BITS = 30;

const bitLength = (value: bigint): number => value.toString(2).length;

/** How many bits of a nanosecond clock one tick leaves out, for a meter that all these buckets share, and whose cells are up to so many buckets ahead. */
export function tickShift(buckets: readonly Bucket[], ahead = 1): number {
  if (buckets.length === 0) return 0;
  const fine = Math.min(...buckets.map(({ interval }) => bitLength(interval) - 1)) - TICKS_PER_INTERVAL_BITS;
  const spans = buckets.map(({ interval, burst }) => bitLength(interval * BigInt((burst + 1) * ahead)) - SPAN_BITS);
  return Math.max(0, fine, ...spans);
}

/** A bucket in ticks; the price is rounded up, so that no source ever gets more than its rate. */
export function bucketTicks({ interval, burst }: Bucket, shift: number): { price: number; credit: number } {
  const price = Number((interval + (1n << BigInt(shift)) - 1n) >> BigInt(shift));
  return { price, credit: price * (burst - 1) };
}

/** A cell of a verified source is less than so many buckets ahead: SYNs take one, redeemed cookies another, and the last may cost a third. */
const VERIFIED_BUCKETS = 4;

/** The share of its rate that a bucket gets at least. */
const LEAST_SHARE = 0.9;

/**
 * The bits that a meter leaves out for one limit of each service, by the name that the limit has in a policy.
 * @throws PolicyError where ticks that are long enough for the slowest bucket are too long for the fastest.
 */
function sharedShift(
  services: readonly Service[],
  name: string,
  pick: (limits: Service['limits']) => Bucket | undefined,
  ahead?: number,
): number {
  const buckets = services.flatMap(({ limits }) => pick(limits) ?? []);
  const shift = tickShift(buckets, ahead);
  const lost = buckets.find(
    (bucket) => Number(bucket.interval) < bucketTicks(bucket, shift).price * 2 ** shift * LEAST_SHARE,
  );
  if (!lost) return shift;
  const slowest = buckets.toSorted((a, b) => Number(b.interval * BigInt(b.burst) - a.interval * BigInt(a.burst)))[0]!;
  throw new PolicyError(
    `services.${String(services.findIndex(({ limits }) => pick(limits) === slowest))}.limits.${name}`,
    `${slowest.rate} with a burst of ${String(slowest.burst)} cannot share a meter with ${lost.rate} in another service; raise the slower rate or lower its burst`,
  );
}

/**
 * The clock of each meter: bits of a nanosecond that its ticks leave out. One unit for all services, because they share cells.
 * @throws PolicyError where services differ too much for one unit.
 */
export function tickShifts(services: readonly Service[]): {
  readonly source: number;
  readonly prefixes: readonly number[];
  readonly verified: number;
} {
  return {
    source: sharedShift(services, 'source', ({ source }) => source),
    prefixes: services[0]!.limits.prefixes.map((_, at) =>
      sharedShift(services, `prefixes.${String(at)}`, ({ prefixes }) => prefixes[at]),
    ),
    verified: sharedShift(services, 'verified', ({ verified }) => verified, VERIFIED_BUCKETS),
  };
}

/** Tokens that are left in the bucket of a source whose cell is so many ticks ahead of the clock. */
export function tokensLeft({ services }: Policy, bucket: Bucket, ahead: number): number {
  const { price } = bucketTicks(bucket, tickShifts(services).source);
  return Math.max(0, bucket.burst - Math.ceil(ahead / price));
}
