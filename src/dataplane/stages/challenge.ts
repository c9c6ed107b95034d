/** A SYN that may not simply pass is answered in place of the server where that is possible, else dropped. */
import { Int, type XdpBuilder } from '../../ebpf/language.ts';
import { canAnswer, sendChallenge } from '../cookie/challenge.ts';
import { stage } from '../stage.ts';
import { activityGroup } from '../state/activity.ts';
import { keyGroup } from '../state/hash.ts';
import { listenerGroup } from '../state/listener.ts';
import type { ServiceValues } from '../state/service-policy.ts';
import { Decision, pressure } from './pressure.ts';
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
  },
  maps: [activityGroup, keyGroup, listenerGroup],
  reads: [],
  build($, segment, context) {
    const { challenger, packet, maps } = context;
    const { challenged } = pressure.reasons;
    const { reason, ...cell } = context.take(Decision);
    if (challenger) {
      const { now } = context;
      // A real client that is over a limit can prove itself and goes on.
      $.if(reason.ne(challenged.number).and(mayChallenge($, context.take(Served)).ne(0)), () => {
        $.if(canAnswer($, packet, maps, segment, challenger, now).ne(0), () => {
          reason.set(challenged.number);
        });
      });
      $.if(reason.eq(challenged.number), () => {
        context.tell(challenged.number, cell);
        if (context.dryRun) return context.leave(challenged);
        const options = context.take(Options);
        sendChallenge($, packet, maps, segment, options, challenger, now, () =>
          context.leave(challenge.reasons['no-answer']),
        );
        return context.leave(challenged);
      });
    }
    return context.drop(reason, cell);
  },
  explain: ({ reply, service }) =>
    reply ? `answer of ${String(reply.length)} bytes: ${reply.toString('hex')}` : `mode ${service?.challenge ?? ''}`,
});

/** Whether a service's mode allows challenges at all. */
function mayChallenge($: XdpBuilder, { mode }: ServiceValues): Int<32> {
  return mode instanceof Int ? mode : $.u32(mode === 'off' ? 0 : 1);
}
