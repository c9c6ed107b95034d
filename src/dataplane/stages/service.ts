/** Which service a SYN is for, and what holds there. */
import type { Builder, Condition, Int } from '../../ebpf/language.ts';
import type { Cidr } from '../../net/address.ts';
import type { ChallengeMode, Policy, Service } from '../../policy/policy.ts';
import { leadingMask } from '../state/hash.ts';
import type { ProtectionMaps } from '../maps.ts';
import type { MeterBucket } from '../state/meter.ts';
import { bucketTicks, tickShifts } from '../state/ticks.ts';
import type { Segment } from '../frame/parse.ts';
import { lookUpService } from '../state/service-classes.ts';
import { inlined, NO_SERVICE, type ServicePolicyValue, MODES } from '../state/service-policy.ts';

function addressIn(words: readonly Int<64>[], { address, bits }: Cidr): Condition {
  const bytes = Buffer.alloc(words.length * 8);
  bytes.set(address);
  const tests = words.flatMap((word, index) => {
    const significant = Math.min(64, Math.max(0, bits - index * 64));
    if (significant === 0) return [];
    const mask = leadingMask(significant);
    return [word.and(mask).eq(bytes.readBigUInt64LE(index * 8) & mask)];
  });
  // A network of no bits is every address.
  return tests.length === 0 ? words[0]!.ge(0) : tests.reduce((all, one) => all.and(one));
}

/** Whether a segment is for a service; undefined where the service is everything. */
function serves({ addresses, ports }: Service, { destination, tcp, family }: Segment): Condition | undefined {
  const conditions: Condition[] = [];
  if (addresses.length > 0) {
    const mine = addresses.filter(({ address }) => address.length === (family === 4 ? 4 : 16));
    const words = destination();
    conditions.push(mine.map((cidr) => addressIn(words, cidr)).reduce((any, one) => any.or(one), words[0]!.oneOf([])));
  }
  if (ports.length > 0) {
    const single = ports.filter(({ first, last }) => first === last).map(({ first }) => first);
    const ranges = ports.filter(({ first, last }) => first !== last);
    let any = tcp.dest.oneOf(single);
    if (ranges.length > 0) {
      const port = tcp.dest.host().u32().and(0xffff);
      for (const { first, last } of ranges) any = any.or(port.ge(first).and(port.le(last)));
    }
    conditions.push(any);
  }
  return conditions.length === 0 ? undefined : conditions.reduce((all, one) => all.and(one));
}

/** The number of the first service that a segment is for, or NO_SERVICE; a plain number where there is only one answer. */
export function serviceIndex<R>(
  $: Builder<R>,
  policy: Policy,
  segment: Segment,
  maps: ProtectionMaps,
): Int<32> | number {
  const { services } = policy;
  if (services.length === 1 && services[0]!.addresses.length === 0 && services[0]!.ports.length === 0) return 0;
  const index = $.let($.u32(NO_SERVICE));
  if (!inlined(policy)) {
    lookUpService($, maps.classes!, segment, index);
    return index;
  }
  // The first that fits decides, so it is written last.
  for (const [number, service] of [...services.entries()].toReversed()) {
    const condition = serves(service, segment);
    const take = (): void => {
      index.set(number);
    };
    if (condition) $.if(condition, take);
    else take();
  }
  return index;
}

/** What holds for a service: numbers that are known while building where every service has the same, and from a map otherwise. */
export interface ServiceValues {
  readonly index: Int<32> | number;
  readonly source: MeterBucket | undefined;
  readonly prefixes: readonly (MeterBucket | undefined)[];
  /** In nanoseconds. */
  readonly service: { readonly price: Int<64> | bigint; readonly credit: Int<64> | bigint } | undefined;
  readonly verified: MeterBucket;
  readonly mode: ChallengeMode | Int<32>;
}

/** Every service's values in the units of the data plane. */
export function servicePolicies(policy: Policy): ServicePolicyValue[] {
  const shifts = tickShifts(policy.services);
  const off = { price: 0, credit: 0 };
  return policy.services.map(({ limits, challenge }) => {
    const { service } = limits;
    return {
      source: limits.source ? bucketTicks(limits.source, shifts.source) : off,
      prefixes: shifts.prefixes.map((shift, at) =>
        limits.prefixes[at] ? bucketTicks(limits.prefixes[at], shift) : off,
      ),
      verified: bucketTicks(limits.verified, shifts.verified),
      servicePrice: service ? service.interval : 0n,
      serviceCredit: service ? service.interval * BigInt(service.burst) : 0n,
      mode: MODES.indexOf(challenge),
    };
  });
}

export function serviceValues<R>(
  $: Builder<R>,
  policy: Policy,
  maps: ProtectionMaps,
  index: Int<32> | number,
  none: () => R,
): ServiceValues {
  const all = servicePolicies(policy);
  const [first] = all;
  if (!maps.policies) {
    const { source, prefixes, verified, servicePrice, serviceCredit, mode } = first!;
    const bucket = (given: { price: number; credit: number }): MeterBucket | undefined =>
      given.price === 0 ? undefined : given;
    return {
      index,
      source: bucket(source),
      prefixes: prefixes.map(bucket),
      service: servicePrice === 0n ? undefined : { price: servicePrice, credit: serviceCredit },
      verified,
      mode: MODES[mode]!,
    };
  }
  const values = $.lookup(maps.policies, index).orExit(none);
  const used = (test: (one: ServicePolicyValue) => boolean): boolean => all.some(test);
  return {
    index,
    source: used(({ source }) => source.price !== 0)
      ? { price: values.sourcePrice, credit: values.sourceCredit }
      : undefined,
    prefixes: first!.prefixes.map((_, at) => ({
      price: values.prefixPrice.at(at),
      credit: values.prefixCredit.at(at),
    })),
    service: used(({ servicePrice }) => servicePrice !== 0n)
      ? { price: values.servicePrice, credit: values.serviceCredit }
      : undefined,
    verified: { price: values.verifiedPrice, credit: values.verifiedCredit },
    mode: values.mode,
  };
}
