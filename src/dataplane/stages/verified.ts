/** Sources that proved their address have a limit of their own. */
import type { EnumValue } from '../../ebpf/language.ts';
import { handOver } from '../context.ts';
import { stage } from '../stage.ts';
import { activityGroup } from '../state/activity.ts';
import { keyGroup } from '../state/hash.ts';
import { serviceStateGroup } from '../state/service-limit.ts';
import { verifiedCharge } from '../state/verified-level.ts';
import { Verified, verifiedGroup, verifiedSource } from '../state/verified-sources.ts';
import { Served } from './service.ts';

/** Whether the source proved its address, and is within its wide limit. */
export const Proven = handOver<EnumValue<'verified'>>('whether the source is verified');

export const verified = stage({
  name: 'verified',
  decides: 'A verified source has its wide limit, and is not challenged within it.',
  reasons: {
    verified: {
      number: 6,
      verdict: 'pass',
      often: true,
      description: 'a SYN of a source that proved its address lately',
    },
    'over-verified': {
      number: 37,
      verdict: 'drop',
      description: 'over the wide limit of its verified source, while the service has no token to spare',
    },
    'over-redeemed': {
      number: 43,
      verdict: 'drop',
      description:
        'an ACK with a right cookie whose source redeemed twice its wide limit: dropped in traffic control until its client sends data again',
    },
  },
  maps: [activityGroup, keyGroup, serviceStateGroup, verifiedGroup],
  reads: ['services'],
  build($, { source }, context) {
    const { challenger, maps, policy } = context;
    // Without challenges no address can be proved.
    if (!challenger) {
      context.give(Proven, Verified.of($.u32(Verified.NO.number)));
      return;
    }
    const { now } = context;
    const served = context.take(Served);
    context.give(
      Proven,
      verifiedSource($, maps, source, now, () => verifiedCharge($, maps, policy, served, now)),
    );
  },
  explain: ({ service }) =>
    service ? `limit ${service.limits.verified.rate}, burst ${String(service.limits.verified.burst)}` : '',
});
