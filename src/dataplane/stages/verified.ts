/** Sources that proved their address have a limit of their own. */
import { stage } from '../stage.ts';
import { activityGroup } from '../state/activity.ts';
import { keyGroup } from '../state/hash.ts';
import { tickShifts } from '../state/ticks.ts';
import { Verified, verifiedGroup, verifiedSource } from '../state/verified-sources.ts';
import { Served } from './service.ts';

export const verified = stage({
  name: 'verified',
  decides: 'A verified source has its wide limit, and nothing else.',
  reasons: {
    verified: {
      number: 6,
      verdict: 'pass',
      often: true,
      description: 'a SYN of a source that proved its address lately',
    },
    'over-verified': { number: 37, verdict: 'drop', description: 'over the wide limit of verified sources' },
  },
  maps: [activityGroup, keyGroup, verifiedGroup],
  reads: ['services'],
  build($, { source }, context) {
    const { challenger, maps, policy, now } = context;
    // Without challenges no address can be proved.
    if (!challenger) return;
    const bucket = context.take(Served).verified;
    const outcome = verifiedSource($, maps, source, bucket, tickShifts(policy.services).verified, now);
    $.if(outcome.eq(Verified.OVER), () => context.end(verified.reasons['over-verified']));
    $.if(outcome.eq(Verified.WITHIN), () => context.end(verified.reasons.verified));
  },
  explain: ({ service }) =>
    service ? `limit ${service.limits.verified.rate}, burst ${String(service.limits.verified.burst)}` : '',
});
