/** A segment that opens nothing passes, unless it is the answer to a challenge. */
import type { XdpBuilder } from '../../ebpf/language.ts';
import { ethernet, frame, ipv4, ipv6, tcp } from '../../net/build.ts';
import { flagNames, TCP_FLAG } from '../../net/headers.ts';
import type { Policy } from '../../policy/policy.ts';
import type { Context } from '../context.ts';
import { isKernelProof, isResetProof } from '../cookie/challenge.ts';
import { type Challenger, formsIn } from '../cookie/challenger.ts';
import type { Segment } from '../frame/parse.ts';
import { stage } from '../stage.ts';
import { activityGroup } from '../state/activity.ts';
import { keyGroup } from '../state/hash.ts';
import { redeemedGroup } from '../state/redeemed.ts';
import { isVerified, remember, verifiedGroup, type VerifiedMaps } from '../state/verified-sources.ts';

/** To an address on the link that no interface has, so that no policy takes the segment for a stray. */
const elsewhere = ethernet({ dst: '02:00:00:00:00:ff' });

export const flags = stage({
  name: 'flags',
  decides: 'A segment that is not a SYN passes. While challenges are in use, it is first looked at for a proof.',
  reasons: {
    'not-syn': {
      number: 3,
      verdict: 'pass',
      often: true,
      description: 'a TCP segment that opens nothing: SYN clear, or ACK set',
    },
    'accept-queue': {
      number: 41,
      verdict: 'drop',
      description:
        'an ACK with a right cookie whose listener has a full accept queue: dropped in traffic control, where Linux would drop it too',
    },
    proof: {
      number: 9,
      verdict: 'drop',
      description: 'a RST with the right cookie: its source is real, and verified from now on',
    },
  },
  maps: [activityGroup, keyGroup, redeemedGroup, verifiedGroup],
  reads: ['remember', 'services'],
  build($, segment, context) {
    $.if(segment.tcp.flags.and(TCP_FLAG.SYN | TCP_FLAG.ACK).ne(TCP_FLAG.SYN), () => {
      if (context.challenger) lookForProof($, segment, context, context.challenger);
      return context.leave(flags.reasons['not-syn']);
    });
  },
  explain: ({ frame: { tcp: header } }) => (header ? `flags ${flagNames(header.flags).join(',') || 'none'}` : ''),
  canned: [
    {
      shows: 'an ACK over IPv4',
      data: frame([elsewhere, ipv4(), tcp({ flags: ['ACK'] })]),
      verdict: 'pass',
      reason: 'not-syn',
    },
    {
      shows: 'an ACK over IPv6',
      data: frame([elsewhere, ipv6(), tcp({ flags: ['ACK'] })]),
      verdict: 'pass',
      reason: 'not-syn',
    },
  ],
});

/** While challenges are in use, segments that open nothing may be answers to them. */
function lookForProof(
  $: XdpBuilder,
  segment: Segment,
  context: Context<VerifiedMaps, Pick<Policy, 'remember' | 'services'>>,
  challenger: Challenger,
): void {
  const { maps, policy } = context;
  // Those of the form `assign` are taken in traffic control.
  const forms = formsIn(policy, challenger).filter((form) => form !== 'assign');
  if (forms.length === 0) return;
  const { flags: bits } = segment.tcp;
  const now = context.clock.coarse($);
  $.if($.at(maps.activity, 0).challengedUntil.gt(now), () => {
    if (forms.includes('reset')) {
      $.if(bits.hasAny(TCP_FLAG.RST), () => {
        $.if(isResetProof($, maps, segment, now).ne(0), () => {
          remember($, maps, segment.source, policy, now);
          return context.leave(flags.reasons.proof);
        });
      });
    }
    if (!forms.includes('kernel')) return;
    $.if(bits.and(TCP_FLAG.ACK | TCP_FLAG.RST | TCP_FLAG.SYN).eq(TCP_FLAG.ACK), () => {
      $.if(isVerified($, maps, segment.source, now).eq(0), () => {
        $.if(isKernelProof($, segment).ne(0), () => {
          remember($, maps, segment.source, policy, now);
        });
      });
    });
  });
}
