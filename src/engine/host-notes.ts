/** What of the host works against a policy, a line each. Nothing is changed. */
import type { Policy } from '../policy/policy.ts';
import { firewallNotes, readFirewall } from './firewall.ts';
import { readSysctl, SYNCOOKIES } from './sysctls.ts';

export function hostNotes(policy: Policy): string[] {
  const none =
    readSysctl(SYNCOOKIES) === '0'
      ? [
          'net.ipv4.tcp_syncookies is 0: SYNs within the limits can fill the backlog of a listener, and the kernel then drops those of real clients; set it to 1',
        ]
      : [];
  return [...none, ...firewallNotes(policy, readFirewall())];
}
