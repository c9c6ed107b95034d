/** A SYN that may not simply pass is answered in place of the server where that is possible, else dropped. */
import { howToAnswer, sendChallenge } from '../cookie/challenge.ts';
import { canCheck, hasWrongChecksum } from '../frame/tcp-checksum.ts';
import { stage } from '../stage.ts';
import { activityGroup } from '../state/activity.ts';
import { keyGroup } from '../state/hash.ts';
import { hostGroup } from '../state/host.ts';
import { listenerGroup } from '../state/listener.ts';
import { Mode } from '../state/service-policy.ts';
import { Refused } from './limits.ts';
import { Pressed, pressure } from './pressure.ts';
import { Options } from './sanity.ts';
import { Served } from './service.ts';

export const challenge = stage({
  name: 'challenge',
  decides: 'Over a limit it is challenged where that is possible, else dropped.',
  reasons: {
    'no-answer': {
      number: 39,
      verdict: 'drop',
      description: 'to be challenged, but the frame could not be made into an answer',
    },
    'tcp-checksum': {
      number: 42,
      verdict: 'drop',
      description: 'to be challenged, but its TCP checksum is wrong',
    },
  },
  maps: [activityGroup, keyGroup, hostGroup, listenerGroup],
  reads: ['sanity', 'services'],
  build($, segment, context) {
    const { challenger, policy, packet, maps } = context;
    const { challenged } = pressure.reasons;
    const { reason, ...cell } = context.take(Refused);
    const drop = () => context.drop(reason, cell);
    if (!challenger) return drop();
    const { now } = context;
    const options = context.take(Options);
    const plan = $.inline(32, (out) => {
      out.if(reason.eq(challenged.number), () => context.take(Pressed));
      const { mode, form: word } = context.take(Served);
      // A real client that is over a limit can prove itself and goes on.
      out.if(mode.eq(Mode.OFF), () => 0);
      return howToAnswer($, packet, maps, segment, { policy, challenger }, { word, options }, now);
    }).forget();
    const answer = () => {
      // Nobody else looks at it: the host never sees a SYN that is answered here.
      if (canCheck(policy))
        $.if(hasWrongChecksum($, packet, segment).ne(0), () => context.end(challenge.reasons['tcp-checksum'], cell));
      context.tell($.u32(challenged.number), cell);
      if (context.dryRun) return context.leave(challenged);
      sendChallenge($, packet, maps, segment, options, { policy, challenger }, plan, now, () =>
        context.leave(challenge.reasons['no-answer']),
      );
      return context.leave(challenged);
    };
    return $.if(plan.ne(0), answer, drop);
  },
  explain: ({ reply, service }) =>
    reply
      ? `answer of ${String(reply.length)} bytes: ${reply.toString('hex')}`
      : `mode ${service?.challenge ?? ''}, form ${service?.form ?? ''}`,
});
