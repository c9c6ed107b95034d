import { resolvePolicy } from '../policy/policy.ts';
import type { PolicyInput } from '../policy/schema.ts';
import { ProtectedInterface, type ProtectOptions } from './protected-interface.ts';

export type { ProtectedInterface, ProtectOptions, Stats } from './protected-interface.ts';

/**
 * Protects an interface of this network namespace from SYN floods. Dispose of the result, or end the process, to stop.
 * @throws PolicyError for an invalid policy, SyscallError if the interface refuses.
 */
export function protect(
  interfaceName: string,
  policy: PolicyInput = {},
  options: ProtectOptions = {},
): ProtectedInterface {
  return new ProtectedInterface(interfaceName, resolvePolicy(policy), options);
}
