/** Whether every SYN of the service is challenged now, before any limit is asked. */
import type { Int, XdpBuilder } from '../../ebpf/language.ts';
import type { Policy } from '../../policy/policy.ts';
import { type Context, handOver } from '../context.ts';
import { howToAnswer } from '../cookie/challenge.ts';
import { stage } from '../stage.ts';
import { keyGroup } from '../state/hash.ts';
import { hostGroup } from '../state/host.ts';
import { listenerGroup } from '../state/listener.ts';
import { batchOf, challenging, serviceStateGroup, type ServiceStateMaps } from '../state/service-limit.ts';
import { Mode } from '../state/service-policy.ts';
import { Verified } from '../state/verified-sources.ts';
import { Options } from './sanity.ts';
import { Served } from './service.ts';
import { Proven } from './verified.ts';

/** How the SYN is challenged before any limit is asked; 0 if it is not. */
export const Pressed = handOver<Int<32>>('whether the SYN is challenged');

export const pressure = stage({
  name: 'pressure',
  decides:
    'While the service is under attack (mode `auto`), or always (mode `always`), a SYN whose source is not verified is challenged.',
  reasons: {
    challenged: {
      number: 8,
      verdict: 'answer',
      often: true,
      description: 'a SYN that was answered with a cookie in place of the server',
    },
  },
  maps: [keyGroup, hostGroup, listenerGroup, serviceStateGroup],
  reads: ['services'],
  build($, segment, context) {
    const { challenger, policy, packet, maps, now } = context;
    const pressed = $.inline(32, (out) => {
      if (!challenger) return 0;
      out.if(context.take(Proven).ne(Verified.NO), () => 0);
      out.if(allChallenged($, context).eq(0), () => 0);
      const said = { word: context.take(Served).form, options: context.take(Options) };
      return howToAnswer($, packet, maps, segment, { policy, challenger }, said, now);
    });
    context.give(Pressed, pressed);
  },
  explain: ({ service }) => `mode ${service?.challenge ?? ''}, form ${service?.form ?? ''}`,
});

function allChallenged($: XdpBuilder, context: Context<ServiceStateMaps, Pick<Policy, 'services'>>): Int<32> {
  const { maps, policy, now } = context;
  const { mode, service, index } = context.take(Served);
  return $.inline(32, (out) => {
    out.if(mode.eq(Mode.ALWAYS), () => 1);
    out.if(mode.eq(Mode.OFF).or(service.price.eq(0)), () => 0);
    return challenging($, maps, index, service, batchOf(policy), now);
  });
}
