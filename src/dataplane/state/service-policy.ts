/** What services look like in maps. */
import { array, struct, u32, u64 } from '../../ebpf/language.ts';
import type { ChallengeMode, Policy } from '../../policy/policy.ts';

/** What `serviceIndex` gives where no service fits. */
export const NO_SERVICE = 0xffff;

/** Challenge modes by number. */
export const MODES: readonly ChallengeMode[] = ['off', 'auto', 'always'];

const MAX_PREFIXES = 4;

/** A service's limits, where services differ. A price of zero is no limit. Ticks, and nanoseconds for the service's own bucket. */
export const ServicePolicy = struct('service_policy', {
  servicePrice: u64,
  serviceCredit: u64,
  sourcePrice: u32,
  sourceCredit: u32,
  verifiedPrice: u32,
  verifiedCredit: u32,
  prefixPrice: array(u32, MAX_PREFIXES),
  prefixCredit: array(u32, MAX_PREFIXES),
  mode: u32,
  spare: u32,
});

/** The same while it is made. */
export interface ServicePolicyValue {
  readonly source: { readonly price: number; readonly credit: number };
  readonly prefixes: readonly { readonly price: number; readonly credit: number }[];
  readonly verified: { readonly price: number; readonly credit: number };
  readonly servicePrice: bigint;
  readonly serviceCredit: bigint;
  readonly mode: number;
}

/** Up to so many comparisons are written into the program; beyond, look-ups whose cost does not grow decide. */
const INLINE_COMPARISONS = 12;

export function inlined({ services }: Policy): boolean {
  return services.reduce((sum, { ports, addresses }) => sum + ports.length + addresses.length, 0) <= INLINE_COMPARISONS;
}

/** Whether services differ in more than what they are for. */
export function differ({ services }: Policy): boolean {
  const shape = ({ limits, challenge }: Policy['services'][number]): string =>
    JSON.stringify([limits, challenge], (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
  return new Set(services.map(shape)).size > 1;
}
