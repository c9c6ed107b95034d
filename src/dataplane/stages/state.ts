/** Segments that are no SYNs and belong to nothing here: more of them than a service's budget are dropped. */
import type { Int, XdpBuilder } from '../../ebpf/language.ts';
import { TCP_FLAG } from '../../net/headers.ts';
import type { Policy } from '../../policy/policy.ts';
import type { Context } from '../context.ts';
import { isAssignProof, isResetProof, kernelTakes } from '../cookie/challenge.ts';
import { formsIn } from '../cookie/challenger.ts';
import type { Segment } from '../frame/parse.ts';
import type { MapsOf } from '../maps.ts';
import { stage } from '../stage.ts';
import { activityGroup } from '../state/activity.ts';
import { type Connections, Owner, ownerOf, untrackedGroup } from '../state/connections.ts';
import { keyGroup } from '../state/hash.ts';
import { hostGroup, isForUs, isLocal } from '../state/host.ts';
import { classGroup } from '../state/service-classes.ts';
import { budgetFunction, isWatched, sampled, strayBatch, strayGroup, watching } from '../state/strays.ts';
import { Listed, listed, listGroup } from './lists.ts';
import { parse } from './parse.ts';
import { serviceIndex } from './service.ts';

const groups = [activityGroup, classGroup, hostGroup, keyGroup, listGroup, strayGroup, untrackedGroup] as const;

export const state = stage({
  name: 'state',
  decides:
    'A segment that is no SYN and belongs to no connection of this host is dropped, over the budget of such strays.',
  reasons: {
    stray: {
      number: 44,
      verdict: 'drop',
      often: true,
      description: 'a segment that is no SYN and belongs to no connection of this host, over the budget of such strays',
    },
  },
  maps: groups,
  reads: ['services'],
  build($, segment, context) {
    const { connections, maps, policy } = context;
    if (!connections || policy.services.every((one) => one.state === 'off')) return;
    // A program with the cookies of both has no room in its frame.
    const forms = context.challenger ? formsIn(policy, context.challenger) : [];
    if (forms.includes('assign') && forms.includes('kernel')) return;
    $.if(segment.tcp.flags.and(TCP_FLAG.SYN | TCP_FLAG.ACK).ne(TCP_FLAG.SYN), () => {
      const now = context.clock.coarse($);
      const batch = strayBatch(policy);
      const overBudget = budgetFunction(maps, batch);
      // The number of its service and one, so that 0 is none.
      const stray = $.inline(32, (out) => {
        const all = policy.services.some((one) => one.state === 'always') ? $.u32(1) : watching($, maps, now);
        out.if(all.eq(0), () => {
          out.if(sampled($, maps, batch).eq(0), () => 0);
        });
        const index = serviceIndex($, policy, segment, maps.classes);
        out.if(isWatched($, maps, index).eq(0), () => 0);
        if (connections.knowsHost) {
          if (segment.link === 'ethernet') out.if(isForUs($, context.packet, maps).eq(0), () => 0);
          out.if(isLocal($, maps, segment.destination).eq(0), () => 0);
        }
        out.if(belongs($, segment, context, connections, now).ne(0), () => 0);
        out.if($.invoke(overBudget, index, all, now).eq(0), () => 0);
        out.if(listed($, maps.lists, segment.source).eq(Listed.ALLOW), () => 0);
        return index.add(1);
      });
      $.if(stray.ne(0), () => context.inService(stray.sub(1), () => context.end(state.reasons.stray)));
    });
  },
  explain: ({ service }) => (service ? `mode ${service.state}; only the host itself knows its connections` : ''),
});

/** Gives 1 where a segment belongs to a connection, or proves the address of one that is about to be. */
function belongs(
  $: XdpBuilder,
  segment: Segment,
  context: Context<MapsOf<typeof groups>, Pick<Policy, 'services'>>,
  connections: Connections,
  now: Int<64>,
): Int<32> {
  const { challenger, maps, packet, policy } = context;
  const { flags } = segment.tcp;
  const isAck = () => flags.and(TCP_FLAG.ACK | TCP_FLAG.SYN | TCP_FLAG.RST).eq(TCP_FLAG.ACK);
  return $.inline(32, (out) => {
    const owner = ownerOf($, packet, maps, segment, connections, now, (listener) => {
      const takes = $.let($.u32(0));
      $.if(isAck(), () => {
        takes.set(kernelTakes($, listener, segment));
      });
      return takes;
    });
    out.if(owner.eq(Owner.CONNECTION), () => 1);
    if (!challenger) return 0;
    out.if($.at(maps.activity, 0).challengedUntil.le(now), () => 0);
    const forms = formsIn(policy, challenger);
    // Beside other forms the frame has no room for one more hash: RSTs, which the host answers with nothing, are left to the next stage.
    if (forms.includes('reset'))
      out.if(flags.hasAny(TCP_FLAG.RST), () => (forms.length === 1 ? isResetProof($, maps, segment, now) : 1));
    if (forms.includes('assign')) {
      out.if(owner.eq(Owner.LISTENER).and(isAck()), () =>
        isAssignProof($, packet, maps, segment, challenger, now, (name) => context.leave(parse.reasons[name])),
      );
    }
    return 0;
  });
}
