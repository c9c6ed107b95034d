/**
 * A token bucket per source, as GCRA: a bucket of `burst` tokens that refills one per interval is the rule that a SYN may come
 * if its source's paid-until time lies at most `burst - 1` intervals ahead of the clock, and then costs one interval more.
 * One word holds the whole state, changed by compare-and-exchange, so two CPUs cannot spend the same token and no fraction of
 * an interval is ever lost.
 */
import { type Exited, type Int, UpdateFlag, type View, type XdpAction, type XdpBuilder } from '../ebpf/language.ts';
import type { Clock } from './clock.ts';
import type { Source } from './maps.ts';
import { SynEvent, type ProtectionMaps } from './maps.ts';
import type { Segment } from './parse.ts';
import { reasonOf, type ReasonName } from './reason.ts';
import type { Leave } from './verdict.ts';

/** Each failed try means that another CPU took a token of the same source meanwhile. */
const MAX_TRIES = 8;

export interface BucketOptions {
  /** Nanoseconds from one token to the next. */
  readonly interval: bigint;
  /** Tokens in a full bucket. */
  readonly burst: number;
}

/** Tells readers of a SYN and what became of it; nothing is written while nobody reads. */
type Tell = (reason: ReasonName, before: Int<64>, after: Int<64>, source?: View<(typeof Source)['fields']>) => void;

function telling($: XdpBuilder, maps: ProtectionMaps, { ip, tcp }: Segment, now: Int<64>): Tell {
  return (reason, before, after, source) => {
    $.if($.at(maps.control, 0).readers.ne(0), () => {
      const seen = source ? source.seen : $.u64(0);
      source?.set({ seen: now });
      $.record(maps.events, SynEvent, (event) => {
        event.set({
          time: now,
          before,
          after,
          seen,
          saddr: ip.saddr,
          daddr: ip.daddr,
          source: tcp.source,
          dest: tcp.dest,
          reason: reasonOf(reason).index,
        });
      });
    });
  };
}

/** Takes a token from the bucket of the segment's source, or drops it. */
export function takeToken(
  $: XdpBuilder,
  maps: ProtectionMaps,
  segment: Segment,
  { interval, burst }: BucketOptions,
  clock: Clock,
  leave: Leave,
): XdpAction | Exited {
  const credit = interval * BigInt(burst - 1);
  const { saddr } = segment.ip;
  const now = clock($);
  const tell = telling($, maps, segment, now);

  const spend = (source: View<(typeof Source)['fields']>): XdpAction => {
    $.loop(MAX_TRIES, () => {
      const before = source.paidUntil;
      const start = $.select(before.gt(now), before, now);
      $.if(start.sub(now).gt(credit), () => {
        tell('over-limit', before, before, source);
        return leave('over-limit');
      });
      const after = start.add(interval);
      const found = source.ref('paidUntil').compareExchange(before, after);
      $.if(found.eq(before), () => {
        tell('within-limit', before, after, source);
        return leave('within-limit');
      });
    });
    return leave('contended');
  };

  return $.lookup(maps.sources, saddr).match({
    some: spend,
    none: () => {
      const after = now.add(interval);
      const failure = $.update(maps.sources, saddr, { paidUntil: after, seen: now }, UpdateFlag.NOEXIST);
      $.if(failure.eq(0), () => {
        tell('within-limit', $.u64(0), after);
        return leave('within-limit');
      });
      // Another CPU was first with this source, or there is no memory for it.
      const source = $.lookup(maps.sources, saddr).orExit(() => leave('no-memory'));
      return spend(source);
    },
  });
}
