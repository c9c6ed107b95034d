/** A policy with every default filled in and every word turned into numbers. */
import type * as z from 'zod/mini';
import { type Cidr, parseCidr } from '../net/address.ts';
import { explainIssue } from './explain-issue.ts';
import { type SanityCheck, sanityNames } from './sanity.ts';
import { type challengeForms, type challengeModes, type PolicyInput, policySchema, type stateModes } from './schema.ts';
import { parseCount, parseDuration, parsePortRange, parseRate, type PortRange } from './units.ts';
import { PolicyError } from './policy-error.ts';

/** A token bucket. */
export interface Bucket {
  /** As it was written. */
  readonly rate: string;
  /** Nanoseconds from one token to the next. */
  readonly interval: bigint;
  /** Tokens in a full bucket. */
  readonly burst: number;
}

/** A bucket for each network of `bits` leading bits. */
export interface PrefixBucket extends Bucket {
  readonly family: 4 | 6;
  readonly bits: number;
}

export interface ServiceLimits {
  readonly source: Bucket | undefined;
  readonly prefixes: readonly PrefixBucket[];
  readonly service: Bucket | undefined;
  readonly verified: Bucket;
  readonly strays: Bucket;
}

export type ChallengeMode = (typeof challengeModes)[number];
export type StateMode = (typeof stateModes)[number];
export type ChallengeForm = (typeof challengeForms)[number];

/** A protected service: addresses and ports (all, where none is named) and their limits. */
export interface Service {
  readonly name: string;
  readonly addresses: readonly Cidr[];
  readonly ports: readonly PortRange[];
  readonly limits: ServiceLimits;
  readonly challenge: ChallengeMode;
  readonly form: ChallengeForm;
  readonly state: StateMode;
}

export interface Policy {
  readonly interfaces: readonly string[];
  readonly dryRun: boolean;
  readonly management: readonly Cidr[];
  readonly lists: {
    readonly allow: readonly string[];
    readonly deny: readonly string[];
    readonly allowFiles: readonly string[];
    readonly denyFiles: readonly string[];
  };
  /** In order; the first that fits decides. At least one. */
  readonly services: readonly Service[];
  readonly sanity: ReadonlySet<SanityCheck>;
  readonly fragments: { readonly first: 'judge' | 'drop'; readonly later: 'pass' | 'drop' };
  /** Nanoseconds for which a source that proved its address is remembered. */
  readonly remember: bigint;
  readonly setSysctls: boolean;
  /** Events a second for each reason and CPU. */
  readonly events: Bucket;
  /** Cells of each meter, a power of two. */
  readonly cells: number;
}

type Input = z.output<typeof policySchema>;
type LimitsInput = NonNullable<Input['limits']>;
type BucketInput = { readonly rate: string; readonly burst: number | string };

/** What holds where a policy says nothing. */
export const defaults = {
  source: { rate: '1/s', burst: 5 },
  prefixes: [
    { family: 4, bits: 24, rate: '20/s', burst: 100 },
    { family: 6, bits: 64, rate: '10/s', burst: 50 },
    { family: 6, bits: 48, rate: '100/s', burst: 500 },
  ],
  service: { rate: '10k/s', burst: 10_000 },
  verified: { rate: '200/s', burst: 400 },
  strays: { rate: '1k/s', burst: 2000 },
  mode: 'auto',
  state: 'off',
  form: 'cookie',
  remember: '5m',
  events: '1k/s',
  cells: 1 << 20,
} as const;

/** The longest time that a full bucket may stand for: cells of 32 bits count 4096 ticks or more to an interval. */
const MOST_INTERVALS = 1n << 19n;
const LONGEST = 30n * 86_400n * 1_000_000_000n;

function bucketOf({ rate, burst }: BucketInput, path: string): Bucket {
  const { interval } = parseRate(rate, path);
  const tokens = typeof burst === 'number' ? burst : parseCount(burst, path, 1, 1_000_000);
  if (BigInt(tokens) > MOST_INTERVALS || interval * BigInt(tokens) > LONGEST) {
    throw new PolicyError(
      path,
      `${rate} with a burst of ${String(tokens)} takes more than 30 days, or half a million intervals, to refill; raise the rate or lower the burst`,
    );
  }
  return { rate, interval, burst: tokens };
}

const optionalBucket = (given: BucketInput | false, path: string): Bucket | undefined =>
  given === false ? undefined : bucketOf(given, path);

function limitsOf(own: LimitsInput | undefined, general: LimitsInput | undefined, path: string): ServiceLimits {
  const pick = <K extends keyof LimitsInput>(key: K) => own?.[key] ?? general?.[key] ?? defaults[key];
  const prefixes = (pick('prefixes') ?? []) as NonNullable<LimitsInput['prefixes']>;
  const lengths = prefixes.map(({ family, bits }) => `${String(family)}/${String(bits)}`);
  const twice = lengths.findIndex((length, index) => lengths.indexOf(length) !== index);
  if (twice >= 0)
    throw new PolicyError(
      `${path}.prefixes.${String(twice)}`,
      `${lengths[twice]!} has a limit already; give one limit for each length`,
    );
  return {
    source: optionalBucket(pick('source'), `${path}.source`),
    service: optionalBucket(pick('service'), `${path}.service`),
    verified: bucketOf(pick('verified'), `${path}.verified`),
    strays: bucketOf(pick('strays'), `${path}.strays`),
    prefixes: prefixes.map((prefix, index) => {
      const where = `${path}.prefixes.${String(index)}`;
      if (prefix.family === 4 && prefix.bits > 31)
        throw new PolicyError(`${where}.bits`, `an IPv4 prefix has 1 to 31 bits, not ${String(prefix.bits)}`);
      return { family: prefix.family, bits: prefix.bits, ...bucketOf(prefix, where) };
    }),
  };
}

function powerOfTwo(given: number): number {
  return 2 ** Math.ceil(Math.log2(given));
}

/** Every service has prefixes of the same lengths, because the program has one meter for each length. */
function checkPrefixes(services: readonly Service[]): void {
  const lengths = ({ limits }: Service): string =>
    limits.prefixes.map((p) => `${String(p.family)}/${String(p.bits)}`).join(' ');
  services.forEach((service, index) => {
    if (service.limits.prefixes.length > 0 && lengths(service) !== lengths(services[0]!)) {
      throw new PolicyError(
        `services.${String(index)}.limits.prefixes`,
        `the prefix lengths are ${lengths(service)} here and ${lengths(services[0]!) || 'none'} in another service; use the same lengths in all services, with different rates if needed`,
      );
    }
  });
}

/** Checks what an operator wrote and fills in the rest. @throws PolicyError that names the path and the expected value. */
export function resolvePolicy(input: PolicyInput = {}): Policy {
  // The schema would take them for objects without a key.
  if (input instanceof Map || input instanceof Set || input instanceof Date)
    throw new PolicyError('', `a policy is an object with its keys, not a ${input.constructor.name}`);
  const result = policySchema.safeParse(input);
  if (!result.success) {
    const { path, message } = explainIssue(result.error.issues, input);
    throw new PolicyError(path, message);
  }
  const given = result.data;
  const asked: NonNullable<Input['services']> = given.services?.length ? given.services : [{ name: 'all' }];
  const names = new Set<string>();
  const services = asked.map((service, index): Service => {
    const path = given.services?.length ? `services.${String(index)}` : '';
    if (names.has(service.name)) throw new PolicyError(`${path}.name`, `two services have the name "${service.name}"`);
    names.add(service.name);
    return {
      name: service.name,
      addresses: (service.addresses ?? []).map((text) => parseCidr(text)),
      ports: (service.ports ?? []).map((port) => parsePortRange(String(port), `${path}.ports`)),
      limits: limitsOf(service.limits, given.limits, service.limits ? `${path}.limits` : 'limits'),
      challenge: service.challenge ?? given.challenge?.mode ?? defaults.mode,
      form: service.form ?? given.challenge?.form ?? defaults.form,
      state: service.state ?? given.state ?? defaults.state,
    };
  });
  checkPrefixes(services);
  const { 'fast-open': fastOpen = false, ...checks } = given.sanity ?? {};
  const sanity = new Set(sanityNames.filter((name) => checks[name] ?? true));
  if (fastOpen) sanity.delete('syn-payload');
  const cells = given.meter?.cells ?? defaults.cells;
  return {
    interfaces: given.interfaces ?? [],
    dryRun: given['dry-run'] ?? false,
    management: (given.management ?? []).map((text) => parseCidr(text)),
    lists: {
      allow: given.lists?.allow ?? [],
      deny: given.lists?.deny ?? [],
      allowFiles: given.lists?.['allow-files'] ?? [],
      denyFiles: given.lists?.['deny-files'] ?? [],
    },
    services,
    sanity,
    fragments: { first: given.fragments?.first ?? 'judge', later: given.fragments?.later ?? 'pass' },
    remember: parseDuration(given.challenge?.remember ?? defaults.remember, 'challenge.remember'),
    setSysctls: given.challenge?.['set-sysctls'] ?? false,
    events: bucketOf({ rate: given.events?.rate ?? defaults.events, burst: 1000 }, 'events.rate'),
    cells: powerOfTwo(typeof cells === 'number' ? cells : parseCount(cells, 'meter.cells', 1024, 1_073_741_824)),
  };
}
