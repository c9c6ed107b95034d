import {
  array,
  arrayMap,
  be16,
  bytes,
  type Int,
  perCpuArray,
  ringBuffer,
  struct,
  u32,
  u64,
  u8,
  type XdpBuilder,
} from '../../ebpf/language.ts';
import type { Bucket } from '../../policy/policy.ts';
import type { Segment } from '../frame/parse.ts';
import { mapGroup } from '../maps.ts';
import type { Clock } from '../state/clock.ts';
import { REASON_NUMBERS } from './verdict.ts';

/** An event for one SYN: source, destination, time of the program's clock, reason, and how far the source's cell was ahead. */
export const SynEvent = struct('syn_event', {
  time: u64,
  source: array(u64, 2),
  destination: array(u64, 2),
  sourcePort: be16,
  destinationPort: be16,
  service: u32,
  /** Ticks, before and after this SYN. */
  before: u32,
  after: u32,
  reason: u8,
  family: u8,
  pad: bytes(6),
});

/** What user space tells the program: whether anybody reads events. */
export const Control = struct('control', { readers: u32 });

const EVENT_BUFFER = 1 << 20;

export const eventGroup = mapGroup({
  specs: () => ({
    control: arrayMap('control', { value: Control, maxEntries: 1, mmap: true }),
    events: ringBuffer('events', { size: EVENT_BUFFER }),
    /** By the number of the reason. */
    budgets: perCpuArray('event_budgets', { value: u64, maxEntries: REASON_NUMBERS }),
  }),
});
export type EventMaps = ReturnType<typeof eventGroup.specs>;

/** What readers are told of a SYN beside its addresses. */
export interface Told {
  /** The number of its reason. */
  readonly reason: Int<32>;
  readonly service: Int<32>;
  readonly before: Int<32>;
  readonly after: Int<32>;
}

/** Emits an event for a SYN, within a budget for each reason and CPU; does nothing without readers. */
export function emitEvent(
  $: XdpBuilder,
  { control, budgets, events }: EventMaps,
  { source, destination, tcp, family }: Segment,
  { interval, burst }: Bucket,
  clock: Clock,
  { reason, service, before, after }: Told,
): void {
  $.if($.at(control, 0).readers.ne(0), () => {
    $.lookup(budgets, reason).match({
      some: (budget) => {
        const now = clock.exact($);
        const paid = budget.value;
        const start = $.select(paid.gt(now), paid, now);
        $.if(start.sub(now).le(interval * BigInt(burst - 1)), () => {
          budget.set({ value: start.add(interval) });
          $.record(events, SynEvent, (event) => {
            const [from, to] = [source.pair($), destination.pair($)];
            for (const index of [0, 1] as const) {
              event.source.ref(index).set(from[index]);
              event.destination.ref(index).set(to[index]);
            }
            event.set({
              time: now,
              sourcePort: tcp.source,
              destinationPort: tcp.dest,
              service,
              before,
              after,
              reason: reason.u8(),
              family,
            });
          });
        });
      },
    });
  });
}
