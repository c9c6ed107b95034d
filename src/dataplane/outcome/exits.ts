import {
  arrayMap,
  type Builder,
  type GlobalFunc,
  globalFunc,
  type Int,
  perCpuArray,
  struct,
  u32,
  u64,
  XDP,
  type XdpAction,
  type XdpBuilder,
} from '../../ebpf/language.ts';
import { mapGroup } from '../maps.ts';
import { type Reason, REASON_NUMBERS, type VerdictName } from './verdict.ts';

/** What became of the last frame, where it is written down. */
export const Outcome = struct('outcome', { reason: u32, service: u32, before: u32, after: u32 });
export const outcomeMap = arrayMap('outcome', { value: Outcome, maxEntries: 1, mmap: true });

/** The counters of a service, by the number of the reason: what happened, and behind it what would have happened in a dry run. */
export const COUNTERS = REASON_NUMBERS * 2;

/** Counters: row 0 for frames of no service or before their service was known, then a row for each service. Each frame adds one to one of them. */
export const counterGroup = mapGroup({
  specs: ({ policy }) => ({
    counters: perCpuArray('counters', {
      value: u64,
      maxEntries: (policy.services.length + 1) * COUNTERS,
    }),
  }),
});
export type CounterMaps = ReturnType<typeof counterGroup.specs>;

const ACTIONS: Record<VerdictName, XdpAction> = { pass: XDP.PASS, drop: XDP.DROP, answer: XDP.TX };

/** Adds one to a counter. */
export function count<R>($: Builder<R>, { counters }: CounterMaps, index: Int<32>): void {
  $.lookup(counters, index).match({
    some: (counter) => {
      counter.ref('value').add(1);
    },
  });
}

/** How paths end. In a dry run everything passes, and what would have been is counted apart. */
export class Exits {
  readonly dryRun: boolean;
  readonly #outcome: boolean;
  readonly #count: GlobalFunc<readonly [32], 32>;
  readonly #builder: XdpBuilder;
  readonly #maps: CounterMaps;

  /** `outcome` records each frame's reason, for replays frame by frame. */
  constructor($: XdpBuilder, maps: CounterMaps, dryRun: boolean, outcome: boolean) {
    this.#builder = $;
    this.#maps = maps;
    this.#outcome = outcome;
    this.#count = globalFunc('count', [32], 32, (inner, index) => {
      count(inner, maps, index);
      return 0;
    });
    this.dryRun = dryRun;
  }

  /** Where the counters of a service begin; computed once, because every exit behind it adds to it. */
  row(service: Int<32>): Int<32> {
    return service.add(1).mul(COUNTERS);
  }

  /** Counts the reason, in the row of a service where one is known, and gives the action. */
  leave({ number, verdict, often = false }: Reason, row = this.#builder.u32(0)): XdpAction {
    this.writeDown({ reason: this.#builder.u32(number) });
    this.#add(row.add(number + (this.dryRun && verdict !== 'pass' ? REASON_NUMBERS : 0)), often);
    return this.dryRun ? XDP.PASS : ACTIONS[verdict];
  }

  /** Drops for one of several reasons, by its number. */
  drop(reason: Int<32>, row: Int<32>): XdpAction {
    this.writeDown({ reason });
    this.#add(reason.add(this.dryRun ? REASON_NUMBERS : 0).add(row), true);
    return this.dryRun ? XDP.PASS : XDP.DROP;
  }

  /** Notes what became of the frame, where that is wanted. */
  writeDown(values: Partial<Record<keyof (typeof Outcome)['fields'], Int<32>>>): void {
    if (this.#outcome) this.#builder.at(outcomeMap, 0).set(values);
  }

  /** Counts in place where it is often: a call of a function costs as much as the counting. */
  #add(index: Int<32>, often: boolean): void {
    if (often) count(this.#builder, this.#maps, index);
    else this.#builder.invoke(this.#count, index);
  }
}
