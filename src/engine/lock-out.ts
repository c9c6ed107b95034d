import { readFileSync } from 'node:fs';
import { type Cidr, parseCidr } from '../net/address.ts';
import { networkCidrs } from '../net/network-list.ts';
import { type Protected, refuseLockOut } from '../policy/lock-out.ts';
import type { Policy } from '../policy/policy.ts';
import { readLists } from './lists/lists.ts';

const MAX_ANCESTORS = 32;

/** The address that this session's SSH connection comes from. sudo takes it out of the environment, so ancestors are asked too. */
function sshPeer(): string | undefined {
  let pid = process.pid;
  for (let depth = 0; depth < MAX_ANCESTORS && pid > 1; depth++) {
    try {
      const environment = readFileSync(`/proc/${String(pid)}/environ`, 'latin1');
      const [, peer] = /(?:^|\0)SSH_CONNECTION=(\S+)/.exec(environment) ?? [];
      if (peer !== undefined) return peer;
      pid = Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${String(pid)}/status`, 'latin1'))?.[1] ?? 0);
    } catch {
      return undefined; // another user's process, or one that ended
    }
  }
  return undefined;
}

/** The network of an SSH peer; undefined if the text is not an address: "UNKNOWN" behind some proxies, or anything else in the environment. */
function networkOf(peer: string): Cidr | undefined {
  try {
    return parseCidr(peer.replace(/%.*/, ''));
  } catch {
    return undefined;
  }
}

/** @throws PolicyError where the policy's deny list would cut off its management addresses or the operator's own session. */
export function guardAgainstLockOut(policy: Policy, peer: string | undefined = sshPeer()): void {
  const guarded: Protected[] = policy.management.map((network) => ({ network, why: 'an address under management' }));
  const session = peer === undefined ? undefined : networkOf(peer);
  if (session) guarded.push({ network: session, why: 'which your SSH session comes from' });
  if (guarded.length === 0) return;
  const { allow, deny } = readLists(policy);
  refuseLockOut(guarded, networkCidrs(allow), networkCidrs(deny));
}
