import { type Int, type XdpBuilder } from '../../ebpf/language.ts';
import type { Bucket } from '../../policy/policy.ts';
import type { Clock } from '../state/clock.ts';
import { type ProtectionMaps, SynEvent } from '../maps.ts';
import type { Segment } from '../frame/parse.ts';

/** What readers are told of a SYN beside its addresses. */
export interface Told {
  /** The number of its reason. */
  readonly reason: Int<32> | number;
  readonly service: Int<32> | number;
  readonly before: Int<32> | number;
  readonly after: Int<32> | number;
}

/** Tells readers of a SYN, within a budget for each reason and CPU; nothing is done while nobody reads. */
export function tellOf(
  $: XdpBuilder,
  maps: ProtectionMaps,
  { source, destination, tcp, family }: Segment,
  { interval, burst }: Bucket,
  clock: Clock,
  { reason, service, before, after }: Told,
): void {
  $.if($.at(maps.control, 0).readers.ne(0), () => {
    $.lookup(maps.budgets, reason).match({
      some: (budget) => {
        const now = clock.exact($);
        const paid = budget.value;
        const start = $.select(paid.gt(now), paid, now);
        $.if(start.sub(now).le(interval * BigInt(burst - 1)), () => {
          budget.set({ value: start.add(interval) });
          $.record(maps.events, SynEvent, (event) => {
            const words = (address: readonly Int<64>[]) => [address[0]!, address[1] ?? $.u64(0)] as const;
            const [from, to] = [words(source()), words(destination())];
            for (const index of [0, 1]) {
              event.source.ref(index).set(from[index]!);
              event.destination.ref(index).set(to[index]!);
            }
            const number = typeof reason === 'number' ? reason : reason.u8();
            event.set({
              time: now,
              sourcePort: tcp.source,
              destinationPort: tcp.dest,
              service,
              before,
              after,
              reason: number,
              family,
            });
          });
        });
      },
    });
  });
}
