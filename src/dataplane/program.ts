import { type Exited, type Int, type ProgramSpec, xdp, type XdpAction, type XdpBuilder, type XdpPacket } from '../ebpf/language.ts';
import { TCP_FLAG } from '../net/headers.ts';
import type { Bucket, Policy } from '../policy/policy.ts';
import { type Clock, kernelClock } from './clock.ts';
import { tellOf } from './events.ts';
import { askLimits } from './limits.ts';
import { type ListCapacity, Listed, listed, SMALL_LISTS } from './lists.ts';
import { protectionMaps, type ProtectionMaps } from './maps.ts';
import { byFamily, parseLink, parseSegment, type Segment } from './parse.ts';
import { type ReasonName, reasonOf } from './reason.ts';
import { sanityReason } from './sanity.ts';
import { serviceIndex, serviceValues } from './service.ts';
import { tickShifts } from './ticks.ts';
import { NO_SERVICE } from './service-policy.ts';
import { parseSynOptions } from './syn-options.ts';
import { Exits } from './verdict.ts';
import { Verified, verifiedSource } from './verified.ts';

/** What the surroundings of a program decide, beside the policy. */
export interface Surroundings {
  readonly clock?: Clock;
  readonly lists?: ListCapacity;
}

/** A protection as plain data: the program, and the maps it shares with user space. */
export interface Protection {
  readonly policy: Policy;
  readonly program: ProgramSpec;
  readonly maps: ProtectionMaps;
}

/** A bucket that takes less than this to refill needs the exact clock: the coarse one is up to 10 ms old (CONFIG_HZ=100). */
const COARSE_FROM = 1_000_000_000n;

/** Whether the coarse clock is exact enough for every limit. */
export function coarseSuffices({ services }: Policy): boolean {
  const long = ({ interval, burst }: Bucket): boolean => interval * BigInt(burst) >= COARSE_FROM;
  return services.every(({ limits }) =>
    [limits.source, limits.service, limits.verified, ...limits.prefixes].every((bucket) => !bucket || long(bucket)),
  );
}

/** Generates the program for a policy. Reads as the list of decisions; the first that fits ends it. */
export function protection(policy: Policy, { clock = kernelClock, lists = SMALL_LISTS }: Surroundings = {}): Protection {
  const maps = protectionMaps(policy, lists);
  const program = xdp('seawall', ($, packet) => {
    const exits = new Exits($, maps, policy.dryRun);
    const { leave } = exits;
    const link = parseLink($, packet, leave);
    return byFamily($, link, leave, (family) => {
      const segment = parseSegment($, packet, family, link.offset, leave, policy.fragments);
      return judge($, packet, segment, { policy, maps, exits, clock });
    });
  });
  return { policy, program, maps };
}

interface Judgement {
  readonly policy: Policy;
  readonly maps: ProtectionMaps;
  readonly exits: Exits;
  readonly clock: Clock;
}

function judge($: XdpBuilder, packet: XdpPacket, segment: Segment, { policy, maps, exits, clock }: Judgement): XdpAction | Exited {
  const { tcp, source } = segment;
  $.if(tcp.flags.and(TCP_FLAG.SYN | TCP_FLAG.ACK).ne(TCP_FLAG.SYN), () => exits.leave('not-syn'));

  const tell = (reason: Int<32> | number, service: Int<32> | number, before: Int<32> | number = 0, after = before): void => {
    tellOf($, maps, segment, policy.events, clock, { reason, service, before, after });
  };
  const end = (reason: ReasonName, service: Int<32> | number = NO_SERVICE): XdpAction => {
    tell(reasonOf(reason).index, service);
    return exits.leave(reason);
  };

  const onList = listed($, maps, source, segment.family);
  $.if(onList.eq(Listed.ALLOW), () => exits.leave('allowed'));
  $.if(onList.eq(Listed.DENY), () => end('denied'));

  const index = serviceIndex($, policy, segment, maps);
  if (typeof index !== 'number') $.if(index.eq(NO_SERVICE), () => exits.leave('no-service'));
  const values = serviceValues($, policy, maps, index, () => exits.leave('no-service'));

  const options = parseSynOptions($, packet, segment, exits.leave);
  const insane = sanityReason($, policy.sanity, segment, options);
  $.if(insane.ne(0), () => {
    tell(insane, index);
    return exits.dropFor(insane);
  });

  const now = coarseSuffices(policy) ? clock.coarse($) : clock.exact($);
  const verified = verifiedSource($, maps, source, values.verified, tickShifts(policy.services).verified, now);
  $.if(verified.eq(Verified.OVER), () => end('over-verified', index));
  $.if(verified.eq(Verified.WITHIN), () => end('verified', index));

  const { reason, before, after } = askLimits($, maps, policy, segment, values, now, false);
  $.if(reason.ne(0), () => {
    tell(reason, index, before, after);
    return exits.dropFor(reason);
  });
  tell(reasonOf('within-limit').index, index, before, after);
  return exits.leave('within-limit');
}
