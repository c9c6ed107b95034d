/**
 * The limit of a whole service, and the switch of its challenges. All CPUs share one bucket, but none writes to it per packet: a
 * CPU takes tokens in batches, and reports in batches what it challenged.
 *
 * A SYN that finds no token switches challenges on. From then on the SYNs that come are charged at twice the price, so
 * `challengeUntil` stays ahead of the clock while more than half the rate comes, and falls behind it, which is off, `HOLD` after.
 */
import {
  array,
  arrayMap,
  type Builder,
  bytes,
  type EnumValue,
  type Int,
  perCpuArray,
  struct,
  u32,
  u64,
  type View,
} from '../../ebpf/language.ts';
import type { Policy } from '../../policy/policy.ts';
import { mapGroup } from '../maps.ts';
import { Mode, type ServiceBucket } from './service-policy.ts';

/** A service under way, on a line of its own: its buckets in nanoseconds of GCRA, until when all its SYNs are challenged, and the level of its verified sources. */
const ServiceState = struct('service_state', {
  paid: array(u64, 2),
  challengeUntil: u64,
  level: u64,
  spare: bytes(32),
});
/** A CPU's own part of it: tokens that it took from the bucket beforehand, and SYNs that it has not reported yet. */
const ServiceShare = struct('service_share', { tokens: array(u32, 2), pending: u32, spare: u32 });

/**
 * A service's buckets, of one size: one for all sources, and one for those that proved their address. Forged SYNs cannot empty the second; those that
 * cannot be challenged (to a port without a listener, say) take tokens of the first.
 */
export const Purse = { ALL: 0, VERIFIED: 1 } as const;

export const serviceStateGroup = mapGroup({
  specs: ({ policy: { services } }) => ({
    services: arrayMap('services', { value: ServiceState, maxEntries: services.length, mmap: true }),
    shares: perCpuArray('shares', { value: ServiceShare, maxEntries: services.length }),
  }),
  contents: ({ services, shares }) => [
    { map: services, entries: [] },
    { map: shares, entries: [] },
  ],
});
export type ServiceStateMaps = ReturnType<typeof serviceStateGroup.specs>;

/** Tokens that a CPU takes at once, at most: an eighth of the smallest bucket, so that what idle CPUs hold matters little. */
const LARGEST_BATCH = 64;

export function batchOf({ services }: Pick<Policy, 'services'>): number {
  const bursts = services.flatMap(({ limits }) => (limits.service ? [limits.service.burst] : []));
  return Math.max(1, Math.min(LARGEST_BATCH, ...bursts.map((burst) => Math.floor(burst / 8))));
}
/** How long challenges stay on once switched on, and after the rate has fallen below half: nanoseconds. */
const HOLD = 10_000_000_000n;
const MAX_TRIES = 4;

export type State = View<(typeof ServiceState)['fields']>;

/** The state of a service; that of an only one is at a fixed place. */
export function withState<R>(
  $: Builder<R>,
  { services }: ServiceStateMaps,
  index: Int<32>,
  use: (state: State) => void,
): void {
  if (index.constant === 0n && services.maxEntries === 1) use($.at(services, 0));
  else $.lookup(services, index).match({ some: use });
}

/** Whether the service's SYNs are all to be challenged; while they are, this one is counted. */
export function challenging<R>(
  $: Builder<R>,
  maps: ServiceStateMaps,
  index: Int<32>,
  { price }: ServiceBucket,
  batch: number,
  now: Int<64>,
): Int<32> {
  const on = $.let($.u32(0));
  withState($, maps, index, (state) => {
    const until = state.challengeUntil;
    $.if(until.gt(now), () => {
      on.set(1);
      $.lookup(maps.shares, index).match({
        some: (share) => {
          const pending = share.pending.add(1);
          $.if(
            pending.lt(batch),
            () => {
              share.set({ pending });
            },
            () => {
              share.set({ pending: 0 });
              const next = until.add(price.mul(2 * batch));
              const latest = now.add(HOLD);
              // A lost race with another CPU loses a batch of the count, which the next one makes good.
              state.ref('challengeUntil').set($.select(next.lt(latest), next, latest));
            },
          );
        },
      });
    });
  });
  return on;
}

/**
 * Whether the service has no token left, without taking one: asked first, because then nothing else needs to be asked. Gives 1
 * where there is none; in the mode `auto` that turns challenges on.
 */
export function serviceIsEmpty<R>(
  $: Builder<R>,
  maps: ServiceStateMaps,
  index: Int<32>,
  { price, credit }: ServiceBucket,
  batch: number,
  now: Int<64>,
  mode: EnumValue<'challenge_mode'>,
): Int<32> {
  const empty = $.let($.u32(0));
  $.lookup(maps.shares, index).match({
    some: (share) => {
      $.if(share.tokens.at(Purse.ALL).eq(0), () => {
        withState($, maps, index, (state) => {
          const paid = state.paid.at(Purse.ALL);
          const cost = price.mul(batch);
          $.if(paid.gt(now), () => {
            $.if(paid.add(cost).sub(now).gt(credit), () => {
              empty.set(1);
              turnOn($, state, now, mode);
            });
          });
        });
      });
    },
  });
  return empty;
}

/** In the mode `auto`, has all SYNs challenged from now on. */
export function turnOn<R>($: Builder<R>, state: State, now: Int<64>, mode: EnumValue<'challenge_mode'>): void {
  $.if(mode.eq(Mode.AUTO), () => {
    // Once it is on, it is kept on by counting.
    $.if(state.challengeUntil.le(now), () => {
      state.ref('challengeUntil').set(now.add(HOLD));
    });
  });
}

/** Takes a token of one of the service's buckets, by its number in `Purse`. Gives 1 where there is none, which `empty` is told. */
export function overService<R>(
  $: Builder<R>,
  maps: ServiceStateMaps,
  index: Int<32>,
  purse: Int<32>,
  { price, credit }: ServiceBucket,
  batch: number,
  now: Int<64>,
  empty: (state: State) => void,
): Int<32> {
  const over = $.let($.u32(0));
  $.lookup(maps.shares, index).match({
    some: (share) => {
      const tokens = share.tokens.ref(purse);
      const left = tokens.get();
      $.if(
        left.ne(0),
        () => {
          tokens.set(left.sub(1));
        },
        () => {
          withState($, maps, index, (state) => {
            over.set(1);
            const cost = price.mul(batch);
            $.loop(MAX_TRIES, (_round, loop) => {
              const bucket = state.paid.ref(purse);
              const paid = bucket.get();
              const start = $.select(paid.gt(now), paid, now);
              loop.breakIf(start.add(cost).sub(now).gt(credit));
              const found = bucket.compareExchange(paid, start.add(cost));
              loop.continueIf(found.ne(paid));
              over.set(0);
              tokens.set(batch - 1);
              loop.break();
            });
            $.if(over.ne(0), () => {
              empty(state);
            });
          });
        },
      );
    },
  });
  return over;
}
