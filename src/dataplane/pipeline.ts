import {
  type Exited,
  Int,
  type ProgramSpec,
  xdp,
  type XdpAction,
  type XdpBuilder,
  type XdpPacket,
} from '../ebpf/language.ts';
import { TCP_FLAG } from '../net/headers.ts';
import type { Bucket, Policy } from '../policy/policy.ts';
import { acceptProgram } from './accept.ts';
import { canAnswer, type Challenger, isKernelProof, isResetProof, sendChallenge } from './stages/challenge.ts';
import { type Clock, kernelClock } from './state/clock.ts';
import { tellOf } from './outcome/events.ts';
import { askLimits } from './stages/limits.ts';
import { type ListCapacity, Listed, listed, SMALL_LISTS } from './stages/lists.ts';
import { protectionMaps, type ProtectionMaps } from './maps.ts';
import { byFamily, parseLink, parseSegment, type Segment } from './frame/parse.ts';
import { type ReasonName, reasonOf } from './outcome/reason.ts';
import { sanityReason } from './stages/sanity.ts';
import { serviceIndex, type ServiceValues, serviceValues } from './stages/service.ts';
import { batchOf, challenging } from './state/service-limit.ts';
import { tickShifts } from './state/ticks.ts';
import { MODES, NO_SERVICE } from './state/service-policy.ts';
import { parseSynOptions } from './frame/syn-options.ts';
import { Exits, outcomeMap } from './outcome/exits.ts';
import { isVerified, remember, Verified, verifiedSource } from './stages/verified.ts';

/** What the surroundings of a program decide, beside the policy. */
export interface Surroundings {
  readonly clock?: Clock;
  readonly lists?: ListCapacity;
  /** How SYNs can be challenged here; they are not where this is left out. */
  readonly challenger?: Challenger | undefined;
  /** Writes each frame's outcome down, for replay. */
  readonly outcome?: boolean;
  /** For benchmarks, which run one frame again and again: what happens before it is judged, and whose it is. */
  readonly rehearsal?: Rehearsal;
}

export interface Rehearsal {
  readonly prepare?: ($: XdpBuilder, packet: XdpPacket) => void;
  /** The source in place of an IPv4 frame's: the word of an address. */
  readonly source?: ($: XdpBuilder) => readonly Int<64>[];
}

/** A protection as plain data: the programs, each generated when it is first asked for, and the maps they share with user space. */
export interface Protection {
  readonly policy: Policy;
  readonly program: ProgramSpec;
  /** The half of the form `assign` that works in traffic control. */
  readonly accept: ProgramSpec | undefined;
  readonly challenger: Challenger | undefined;
  readonly maps: ProtectionMaps;
  /** The same for protections whose programs are the same; absent where that cannot be told. */
  readonly key: string | undefined;
}

/** A bucket that takes less than this to refill needs the exact clock: the coarse one is up to 20 ms old (two ticks where CONFIG_HZ=100). */
const COARSE_FROM = 1_000_000_000n;

/** Whether the coarse clock is exact enough for every limit. */
export function coarseSuffices({ services }: Policy): boolean {
  const long = ({ interval, burst }: Bucket): boolean => interval * BigInt(burst) >= COARSE_FROM;
  return services.every(({ limits }) =>
    [limits.source, limits.service, limits.verified, ...limits.prefixes].every((bucket) => !bucket || long(bucket)),
  );
}

/** Generates the program for a policy. Reads as the list of decisions; the first that fits ends it. */
export function protection(
  policy: Policy,
  { clock = kernelClock, lists = SMALL_LISTS, challenger: able, outcome = false, rehearsal = {} }: Surroundings = {},
): Protection {
  const challenger = policy.services.some(({ challenge }) => challenge !== 'off') ? able : undefined;
  const maps = protectionMaps(policy, lists);
  const program = once(() =>
    xdp('seawall', ($, packet) => {
      const exits = new Exits($, maps, policy.dryRun, outcome);
      const { leave } = exits;
      rehearsal.prepare?.($, packet);
      const link = parseLink($, packet, leave);
      return byFamily($, link, leave, (family) => {
        const segment = parseSegment($, packet, family, link.offset, leave, {
          fragments: policy.fragments,
          lengths: 'check',
        });
        const forged = family === 4 ? rehearsal.source?.($).map((word) => $.let(word)) : undefined;
        const judged = forged ? { ...segment, source: () => forged } : segment;
        return judge($, packet, judged, { policy, maps, exits, clock, challenger });
      });
    }),
  );
  const accept = once(() =>
    challenger?.form === 'assign' ? acceptProgram(policy, maps, clock, challenger.stack) : undefined,
  );
  const known = clock.key === undefined || rehearsal.prepare || rehearsal.source ? undefined : clock.key;
  return {
    policy,
    get program() {
      return program();
    },
    get accept() {
      return accept();
    },
    challenger,
    maps,
    key: known === undefined ? undefined : keyOf(policy, { lists, challenger, outcome, clock: known }),
  };
}

/** Runs at most once, when it is asked for. */
function once<T>(make: () => T): () => T {
  let made: { readonly it: T } | undefined;
  return () => (made ??= { it: make() }).it;
}

/** All that the programs follow from, in one text. Who is on the lists is not in the programs. */
function keyOf({ lists: _lists, ...policy }: Policy, surroundings: object): string {
  return JSON.stringify([policy, surroundings], (_name, value: unknown) => {
    if (typeof value === 'bigint') return `${String(value)}n`;
    return value instanceof Set || value instanceof Map ? [...value] : value;
  });
}

interface Judgement {
  readonly policy: Policy;
  readonly maps: ProtectionMaps;
  readonly exits: Exits;
  readonly clock: Clock;
  readonly challenger: Challenger | undefined;
}

/** What decides on a segment, in order; the first that fits ends it. */
function judge($: XdpBuilder, packet: XdpPacket, segment: Segment, judgement: Judgement): XdpAction | Exited {
  const { policy, maps, exits, clock, challenger } = judgement;
  const { tcp, source, family } = segment;
  $.if(tcp.flags.and(TCP_FLAG.SYN | TCP_FLAG.ACK).ne(TCP_FLAG.SYN), () => {
    if (challenger) lookForProof($, segment, judgement, challenger);
    return exits.leave('not-syn');
  });

  const tell = (
    reason: Int<32> | number,
    service: Int<32> | number,
    before: Int<32> | number = 0,
    after = before,
  ): void => {
    if (exits.outcome) $.at(outcomeMap, 0).set({ service, before, after });
    tellOf($, maps, segment, policy.events, clock, { reason, service, before, after });
  };
  const end = (reason: ReasonName, service: Int<32> | number = NO_SERVICE): XdpAction => {
    tell(reasonOf(reason).index, service);
    return exits.leave(reason);
  };

  const onList = listed($, maps, source, family);
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
  if (challenger) {
    const verified = verifiedSource($, maps, source, values.verified, tickShifts(policy.services).verified, now);
    $.if(verified.eq(Verified.OVER), () => end('over-verified', index));
    $.if(verified.eq(Verified.WITHIN), () => end('verified', index));
  }

  const reason = $.let($.u32(0));
  const before = $.let($.u32(0));
  const after = $.let($.u32(0));
  const CHALLENGE = reasonOf('challenged').index;
  if (challenger) {
    $.if(allChallenged($, judgement, values, now).ne(0), () => {
      $.if(canAnswer($, packet, maps, segment, challenger, now).ne(0), () => {
        reason.set(CHALLENGE);
      });
    });
  }
  $.if(reason.eq(0), () => {
    const outcome = askLimits($, maps, policy, segment, values, now, challenger ? isAuto($, values) : false);
    reason.set(outcome.reason);
    before.set(outcome.before);
    after.set(outcome.after);
  });
  $.if(reason.eq(0), () => {
    tell(reasonOf('within-limit').index, index, before, after);
    return exits.leave('within-limit');
  });

  if (challenger) {
    // Whoever is over a limit may prove that it is real, and goes on.
    $.if(reason.ne(CHALLENGE).and(mayChallenge($, values).ne(0)), () => {
      $.if(canAnswer($, packet, maps, segment, challenger, now).ne(0), () => {
        reason.set(CHALLENGE);
      });
    });
    $.if(reason.eq(CHALLENGE), () => {
      tell(CHALLENGE, index, before, after);
      if (policy.dryRun) return exits.leave('challenged');
      sendChallenge($, packet, maps, segment, options, challenger, now, () => exits.leave('no-answer'));
      return exits.leave('challenged');
    });
  }
  tell(reason, index, before, after);
  return exits.dropFor(reason);
}

/** Whether a service's mode allows challenges at all. */
function mayChallenge($: XdpBuilder, { mode }: ServiceValues): Int<32> {
  return mode instanceof Int ? mode : $.u32(mode === 'off' ? 0 : 1);
}

function isAuto($: XdpBuilder, { mode }: ServiceValues): Int<32> | boolean {
  return mode instanceof Int ? $.select(mode.eq(MODES.indexOf('auto')), $.u32(1), $.u32(0)) : mode === 'auto';
}

/** Whether every SYN of the service is to be challenged now. */
function allChallenged($: XdpBuilder, { maps, policy }: Judgement, values: ServiceValues, now: Int<64>): Int<32> {
  const { mode, service, index } = values;
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

/** While challenges are about, segments that open nothing may be answers to them. */
function lookForProof(
  $: XdpBuilder,
  segment: Segment,
  { policy, maps, exits, clock }: Judgement,
  { form }: Challenger,
): void {
  if (form === 'assign') return; // its answers are taken in traffic control
  const { flags } = segment.tcp;
  const now = clock.coarse($);
  $.if($.at(maps.activity, 0).challengedUntil.gt(now), () => {
    if (form === 'reset') {
      $.if(flags.hasAny(TCP_FLAG.RST), () => {
        $.if(isResetProof($, maps, segment, now).ne(0), () => {
          remember($, maps, segment.source, policy.remember, now);
          return exits.leave('proof');
        });
      });
      return;
    }
    $.if(flags.and(TCP_FLAG.ACK | TCP_FLAG.RST | TCP_FLAG.SYN).eq(TCP_FLAG.ACK), () => {
      $.if(isVerified($, maps, segment.source, now).eq(0), () => {
        $.if(isKernelProof($, segment).ne(0), () => {
          remember($, maps, segment.source, policy.remember, now);
        });
      });
    });
  });
}
