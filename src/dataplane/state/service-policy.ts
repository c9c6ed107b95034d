/** What holds for a service: constants of the program where every service has the same, and from a map otherwise. */
import {
  array,
  arrayMap,
  type Builder,
  enumOf,
  type EnumMember,
  type EnumValue,
  type Exited,
  type Infer,
  type Int,
  struct,
  u32,
  u64,
} from '../../ebpf/language.ts';
import type { ChallengeMode, Policy } from '../../policy/policy.ts';
import { FORM_WORDS, FormWord } from '../cookie/challenger.ts';
import { mapGroup } from '../maps.ts';
import type { MeterBucket } from './meter.ts';
import { bucketTicks, tickShifts } from './ticks.ts';

type Services = Pick<Policy, 'services'>;

/** What `serviceIndex` gives where no service fits. */
export const NO_SERVICE = 0xffff;

/** When the SYNs of a service are challenged: never, over a limit and while it is under attack, or all of them. */
export const Mode = enumOf('challenge_mode', { OFF: 0, AUTO: 1, ALWAYS: 2 });
const MODES: Record<ChallengeMode, EnumMember<'challenge_mode'>> = {
  off: Mode.OFF,
  auto: Mode.AUTO,
  always: Mode.ALWAYS,
};

const MAX_PREFIXES = 4;

/** A service's limits, where services differ. A price of zero is no limit. Ticks, and nanoseconds for the service's own bucket. */
const ServicePolicy = struct('service_policy', {
  servicePrice: u64,
  serviceCredit: u64,
  sourcePrice: u32,
  sourceCredit: u32,
  verifiedPrice: u32,
  verifiedCredit: u32,
  prefixPrice: array(u32, MAX_PREFIXES),
  prefixCredit: array(u32, MAX_PREFIXES),
  mode: u32,
  form: u32,
});

/** The same while it is made. */
interface ServicePolicyValue {
  readonly source: { readonly price: number; readonly credit: number };
  readonly prefixes: readonly { readonly price: number; readonly credit: number }[];
  readonly verified: { readonly price: number; readonly credit: number };
  readonly servicePrice: bigint;
  readonly serviceCredit: bigint;
  readonly mode: number;
  readonly form: number;
}

/** Up to so many comparisons are written into the program; beyond, look-ups whose cost does not grow decide. */
const INLINE_COMPARISONS = 12;

export function inlined({ services }: Services): boolean {
  return services.reduce((sum, { ports, addresses }) => sum + ports.length + addresses.length, 0) <= INLINE_COMPARISONS;
}

/** Whether services differ in more than addresses and ports. */
export function differ({ services }: Services): boolean {
  const shape = ({ limits, challenge, form }: Policy['services'][number]): string =>
    JSON.stringify([limits, challenge, form], (_key, value: unknown) =>
      typeof value === 'bigint' ? String(value) : value,
    );
  return new Set(services.map(shape)).size > 1;
}

/** The bucket of a service itself, in nanoseconds. A price of zero is no limit. */
export interface ServiceBucket {
  readonly price: Int<64>;
  readonly credit: Int<64>;
}

/** What the program knows of a service. */
export interface ServiceValues {
  readonly index: Int<32>;
  readonly source: MeterBucket;
  readonly prefixes: readonly MeterBucket[];
  readonly service: ServiceBucket;
  readonly verified: MeterBucket;
  readonly mode: EnumValue<'challenge_mode'>;
  readonly form: EnumValue<'form_word'>;
}

/** Every service's values in the units of the data plane. */
function servicePolicies(policy: Services): ServicePolicyValue[] {
  const shifts = tickShifts(policy.services);
  const off = { price: 0, credit: 0 };
  return policy.services.map(({ limits, challenge, form }) => {
    const { service } = limits;
    return {
      source: limits.source ? bucketTicks(limits.source, shifts.source) : off,
      prefixes: shifts.prefixes.map((shift, at) =>
        limits.prefixes[at] ? bucketTicks(limits.prefixes[at], shift) : off,
      ),
      verified: bucketTicks(limits.verified, shifts.verified),
      servicePrice: service ? service.interval : 0n,
      serviceCredit: service ? service.interval * BigInt(service.burst) : 0n,
      mode: MODES[challenge].number,
      form: FORM_WORDS[form].number,
    };
  });
}

/** Where services differ: their values by number. */
export const servicePolicyGroup = mapGroup({
  specs: ({ policy }) => ({
    policies: differ(policy)
      ? arrayMap('policies', { value: ServicePolicy, maxEntries: policy.services.length })
      : undefined,
  }),
  contents: ({ policies }, { policy }) =>
    policies ? [{ map: policies, entries: servicePolicies(policy).map((value, index) => [index, inMap(value)]) }] : [],
});
export type PolicyMaps = ReturnType<typeof servicePolicyGroup.specs>;

function inMap({ source, prefixes, verified, ...rest }: ServicePolicyValue): Infer<typeof ServicePolicy> {
  const four = (pick: (bucket: ServicePolicyValue['source']) => number): number[] =>
    Array.from({ length: MAX_PREFIXES }, (_, at) => (prefixes[at] ? pick(prefixes[at]) : 0));
  return {
    ...rest,
    sourcePrice: source.price,
    sourceCredit: source.credit,
    verifiedPrice: verified.price,
    verifiedCredit: verified.credit,
    prefixPrice: four(({ price }) => price),
    prefixCredit: four(({ credit }) => credit),
  };
}

/** The values of a service: constants where all services have the same, else what its map says. */
export function serviceValues<R>(
  $: Builder<R>,
  policy: Services,
  maps: PolicyMaps,
  index: Int<32>,
  none: () => R | Exited,
): ServiceValues {
  const all = servicePolicies(policy);
  const first = all[0]!;
  const ticks = ({ price, credit }: ServicePolicyValue['source']): MeterBucket => ({
    price: $.u32(price),
    credit: $.u32(credit),
  });
  const unlimited = { price: $.u64(0), credit: $.u64(0) };
  if (!maps.policies) {
    return {
      index,
      source: ticks(first.source),
      prefixes: first.prefixes.map(ticks),
      service: { price: $.u64(first.servicePrice), credit: $.u64(first.serviceCredit) },
      verified: ticks(first.verified),
      mode: Mode.of($.u32(first.mode)),
      form: FormWord.of($.u32(first.form)),
    };
  }
  const values = $.lookup(maps.policies, index).orExit(none);
  const limited = (price: (one: ServicePolicyValue) => number | bigint): boolean => all.some((one) => price(one) > 0);
  return {
    index,
    source: limited(({ source }) => source.price)
      ? loadedBucket(
          () => values.sourcePrice,
          () => values.sourceCredit,
        )
      : ticks(first.source),
    prefixes: first.prefixes.map((_, at) =>
      loadedBucket(
        () => values.prefixPrice.at(at),
        () => values.prefixCredit.at(at),
      ),
    ),
    service: limited(({ servicePrice }) => servicePrice)
      ? loadedBucket(
          () => values.servicePrice,
          () => values.serviceCredit,
        )
      : unlimited,
    verified: loadedBucket(
      () => values.verifiedPrice,
      () => values.verifiedCredit,
    ),
    get mode() {
      return Mode.of(values.mode);
    },
    get form() {
      return FormWord.of(values.form);
    },
  };
}

/** A bucket that is loaded anew at each use: held across the whole program, its numbers would take a place each in the frame. */
function loadedBucket<W extends 32 | 64>(price: () => Int<W>, credit: () => Int<W>) {
  return {
    get price() {
      return price();
    },
    get credit() {
      return credit();
    },
  };
}
