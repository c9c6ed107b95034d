/** Whether every SYN of the service is challenged now, before any limit is asked. */
import { Int, type IntVariable, type XdpBuilder } from '../../ebpf/language.ts';
import type { Policy } from '../../policy/policy.ts';
import { type Context, handOver } from '../context.ts';
import { canAnswer } from '../cookie/challenge.ts';
import { stage } from '../stage.ts';
import { keyGroup } from '../state/hash.ts';
import { listenerGroup } from '../state/listener.ts';
import { batchOf, challenging, serviceStateGroup, type ServiceStateMaps } from '../state/service-limit.ts';
import { MODES } from '../state/service-policy.ts';
import { Served } from './service.ts';

/** What is to become of the SYN: the number of a reason, 0 where none is found yet; and the cell of its source, in ticks. */
export interface Undecided {
  readonly reason: IntVariable<32>;
  readonly before: IntVariable<32>;
  readonly after: IntVariable<32>;
}
export const Decision = handOver<Undecided>('the decision so far');

export const pressure = stage({
  name: 'pressure',
  decides: 'While the service is under attack (mode `auto`), or always (mode `always`), the SYN is challenged.',
  reasons: {
    challenged: {
      number: 8,
      verdict: 'answer',
      often: true,
      description: 'a SYN that was answered with a cookie in place of the server',
    },
  },
  maps: [keyGroup, listenerGroup, serviceStateGroup],
  reads: ['services'],
  build($, segment, context) {
    const { challenger, packet, maps, now } = context;
    const [reason, before, after] = [$.let($.u32(0)), $.let($.u32(0)), $.let($.u32(0))];
    context.give(Decision, { reason, before, after });
    if (!challenger) return;
    $.if(allChallenged($, context).ne(0), () => {
      $.if(canAnswer($, packet, maps, segment, challenger, now).ne(0), () => {
        reason.set(pressure.reasons.challenged.number);
      });
    });
  },
  explain: ({ service }) => `mode ${service?.challenge ?? ''}`,
});

function allChallenged($: XdpBuilder, context: Context<ServiceStateMaps, Pick<Policy, 'services'>>): Int<32> {
  const { maps, policy, now } = context;
  const { mode, service, index } = context.take(Served);
  if (mode === 'always') return $.u32(1);
  const on = $.let($.u32(0));
  if (mode === 'off') return on;
  const ask = (): void => {
    if (service) on.set(challenging($, maps, index, service, batchOf(policy), now));
  };
  if (!(mode instanceof Int)) ask();
  else {
    $.if(mode.eq(MODES.indexOf('auto')), ask);
    $.if(mode.eq(MODES.indexOf('always')), () => {
      on.set(1);
    });
  }
  return on;
}
