import { type ProgramSpec, xdp } from '../ebpf/language.ts';
import { TCP_FLAG } from '../net/headers.ts';
import type { CheckedLimits } from '../policy/limits.ts';
import { type Clock, kernelClock } from './clock.ts';
import { protectionMaps, type ProtectionMaps } from './maps.ts';
import { parseSegment } from './parse.ts';
import { takeToken } from './token-bucket.ts';
import { leaving } from './verdict.ts';

/** A protection as plain data: the program, and the maps it shares with user space. */
export interface Protection {
  readonly limits: CheckedLimits;
  readonly program: ProgramSpec;
  readonly maps: ProtectionMaps;
}

/** Generates the program for these limits. Reads as the list of decisions; the first that fits ends it. */
export function protection(limits: CheckedLimits, clock: Clock = kernelClock(limits.interval)): Protection {
  const maps = protectionMaps(limits.maxSources);
  const program = xdp('seawall', ($, packet) => {
    const leave = leaving($, maps, limits.dryRun);
    const segment = parseSegment($, packet, leave);
    $.if(segment.tcp.flags.and(TCP_FLAG.SYN | TCP_FLAG.ACK).ne(TCP_FLAG.SYN), () => leave('not-syn'));
    if (limits.ports.length > 0) $.if(segment.tcp.dest.oneOf(limits.ports).not(), () => leave('other-port'));
    return takeToken($, maps, segment, limits, clock, leave);
  });
  return { limits, program, maps };
}
