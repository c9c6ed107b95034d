/**
 * How much dearer a SYN of a verified source is than its price while verified sources together want more than their service has: the
 * price is doubled as often as the level says. Each SYN that finds no token raises it, at most once a step; it falls by itself.
 *
 *     | 63 .. 8 when it was raised, in units of 256 ns | 7 .. 0 level then |
 */
import type { Builder, Int } from '../../ebpf/language.ts';
import type { Policy } from '../../policy/policy.ts';
import type { MeterBucket } from './meter.ts';
import { type ServiceStateMaps, type State, withState } from './service-limit.ts';
import type { ServiceValues } from './service-policy.ts';
import { tickShifts } from './ticks.ts';
import type { Charge } from './verified-sources.ts';

/** Longer than a tick of the coarse clock; what a level changes is seen by then. */
const STEP_NS = 20_000_000n;
/** A level falls by one in 2^31 ns, two seconds. */
const FALL_SHIFT = 31;
const LEVEL_MASK = 0xff;

/** The level now: 0 where verified sources want no more than there is. */
function levelOf<R>($: Builder<R>, { level: word }: State, now: Int<64>): Int<32> {
  return $.inline(32, (out) => {
    const level = word.u32().and(LEVEL_MASK);
    // Another CPU may be a tick ahead.
    out.if(word.gt(now), () => level);
    const fallen = now.sub(word).shr(FALL_SHIFT);
    out.if(fallen.ge(level.u64()), () => 0);
    return level.sub(fallen.u32());
  });
}

/** Raises the level by one, until a SYN costs a full bucket. */
export function raiseLevel<R>($: Builder<R>, state: State, { price, credit }: MeterBucket, now: Int<64>): void {
  const word = state.level;
  $.if(now.gt(word.add(STEP_NS)), () => {
    const level = $.let(levelOf($, state, now));
    $.if(price.u64().shl(level.add(1).u64()).le(credit.add(price).u64()), () => {
      level.set(level.add(1));
    });
    // One that loses the race against another CPU has been raised.
    state.ref('level').compareExchange(word, now.and(BigInt.asUintN(64, ~BigInt(LEVEL_MASK))).or(level.u64()));
  });
}

/** What a verified source of the service is charged now. */
export function verifiedCharge<R>(
  $: Builder<R>,
  maps: ServiceStateMaps,
  { services }: Pick<Policy, 'services'>,
  { index, service, verified: bucket }: ServiceValues,
  now: Int<64>,
): Charge {
  const level = $.let($.u32(0));
  // A service without a limit is never short.
  $.if(service.price.ne(0), () => {
    withState($, maps, index, (state) => {
      level.set(levelOf($, state, now));
    });
  });
  return { bucket, level: level.forget(), ticks: now.shr(tickShifts(services).verified).u32() };
}
