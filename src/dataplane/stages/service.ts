/** Which service a SYN is for, and what holds there. */
import type { Builder, Condition, Exited, Int } from '../../ebpf/language.ts';
import { formatCidr } from '../../net/address.ts';
import type { Policy, Service } from '../../policy/policy.ts';
import { formatPorts } from '../../policy/units.ts';
import { handOver } from '../context.ts';
import type { Segment } from '../frame/parse.ts';
import { stage } from '../stage.ts';
import { classGroup, type ClassMaps, lookUpService } from '../state/service-classes.ts';
import {
  inlined,
  Mode,
  NO_SERVICE,
  type PolicyMaps,
  servicePolicyGroup,
  type ServiceValues,
  serviceValues,
} from '../state/service-policy.ts';

/** What holds for the service that the SYN is for. */
export const Served = handOver<ServiceValues>('the service of the SYN');

/** Whether a segment is for a service; undefined where the service is everything. */
function serves({ addresses, ports }: Service, { destination, tcp }: Segment): Condition | undefined {
  const conditions: Condition[] = [];
  if (addresses.length > 0) conditions.push(destination.inAny(addresses));
  if (ports.length > 0) {
    const single = ports.filter(({ first, last }) => first === last).map(({ first }) => first);
    const ranges = ports.filter(({ first, last }) => first !== last);
    let any = tcp.dest.oneOf(single);
    if (ranges.length > 0) {
      const port = tcp.dest.host().u32().and(0xffff);
      for (const { first, last } of ranges) any = any.or(port.ge(first).and(port.le(last)));
    }
    conditions.push(any);
  }
  return conditions.length === 0 ? undefined : conditions.reduce((all, one) => all.and(one));
}

/** The number of the first service that a segment is for, or NO_SERVICE; a constant where there is only one answer. */
export function serviceIndex<R>(
  $: Builder<R>,
  policy: Pick<Policy, 'services'>,
  segment: Segment,
  classes: ClassMaps | undefined,
): Int<32> {
  const { services } = policy;
  if (services.length === 1 && services[0]!.addresses.length === 0 && services[0]!.ports.length === 0) return $.u32(0);
  const index = $.let($.u32(NO_SERVICE));
  if (!inlined(policy)) {
    lookUpService($, classes!, segment, index);
    return index;
  }
  // The first that fits decides, so it is written last.
  for (const [number, service] of [...services.entries()].toReversed()) {
    const condition = serves(service, segment);
    const take = (): void => {
      index.set(number);
    };
    if (condition) $.if(condition, take);
    else take();
  }
  return index;
}

export type ServedMaps = ReturnType<typeof classGroup.specs> & PolicyMaps;

/** What holds for the service that a segment is for. `none` leaves where there is none. */
export function servedBy<R>(
  $: Builder<R>,
  policy: Pick<Policy, 'services'>,
  maps: ServedMaps,
  segment: Segment,
  none: () => R | Exited,
): ServiceValues {
  const index = serviceIndex($, policy, segment, maps.classes);
  $.if(index.eq(NO_SERVICE), none);
  return serviceValues($, policy, maps, index, none);
}

export const service = stage({
  name: 'service',
  decides: 'Services: a SYN for none of them passes.',
  reasons: {
    'no-service': {
      number: 5,
      verdict: 'pass',
      often: true,
      description: 'a SYN for an address or port that is not protected',
    },
  },
  maps: [classGroup, servicePolicyGroup],
  reads: ['services'],
  build($, segment, context) {
    const { policy, maps } = context;
    const none = () => context.leave(service.reasons['no-service']);
    const values = servedBy($, policy, maps, segment, none);
    context.enterService(values.index);
    // Where nothing can be challenged, the mode is of no account.
    context.give(Served, context.challenger ? values : { ...values, mode: Mode.of($.u32(Mode.OFF.number)) });
  },
  explain: ({ service: found, frame: { ip, tcp } }) =>
    found
      ? `${found.name}: ports ${formatPorts(found.ports) || 'all'}, addresses ${found.addresses.map(formatCidr).join(', ') || 'all'}`
      : `${ip?.dst ?? ''} port ${String(tcp?.dest ?? '')} is no service`,
});
