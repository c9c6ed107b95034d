import { type Cidr, cidrContains, formatCidr } from '../net/address.ts';
import { PolicyError } from './policy-error.ts';

/** An address that must not be cut off, and why. */
export interface Protected {
  readonly network: Cidr;
  readonly why: string;
}

/** The smaller of two networks where one lies in the other. */
function overlap(a: Cidr, b: Cidr): Cidr | undefined {
  const [wide, narrow] = a.bits <= b.bits ? [a, b] : [b, a];
  return cidrContains(wide, narrow.address) ? narrow : undefined;
}

/** @throws PolicyError if a denied network would cut off a guarded address that is not on the allow list. */
export function refuseLockOut(guarded: readonly Protected[], allow: readonly Cidr[], deny: readonly Cidr[]): void {
  for (const { network, why } of guarded) {
    for (const denied of deny) {
      const cut = overlap(network, denied);
      if (!cut || allow.some((wide) => wide.bits <= cut.bits && cidrContains(wide, cut.address))) continue;
      throw new PolicyError(
        'lists.deny',
        `${formatCidr(denied)} would cut off ${formatCidr(cut)}, ${why}; add it to lists.allow, or run with --allow-lock-out`,
      );
    }
  }
}
