import {
  arrayMap,
  type Builder,
  func,
  type Func,
  type Int,
  struct,
  u32,
  XDP,
  type XdpAction,
  type XdpBuilder,
} from '../../ebpf/language.ts';
import type { ProtectionMaps } from '../maps.ts';
import { type Reason, type ReasonName, reasonOf, reasons, type VerdictName } from './reason.ts';

/** What became of the last frame, where it is written down. */
export const Outcome = struct('outcome', { reason: u32, service: u32, before: u32, after: u32 });
export const outcomeMap = arrayMap('outcome', { value: Outcome, maxEntries: 1, mmap: true });

/** Ends a path for a reason: counts it, and gives the action that goes with it. */
export type Leave = (reason: ReasonName) => XdpAction;

const ACTIONS: Record<VerdictName, XdpAction> = { pass: XDP.PASS, drop: XDP.DROP, answer: XDP.TX };

function count<R>($: Builder<R>, { counters }: ProtectionMaps, index: Int<32> | number): void {
  $.lookup(counters, index).match({
    some: (counter) => {
      counter.ref('value').add(1);
    },
  });
}

/** Reasons that most frames end for, in peace or under attack. */
const OFTEN = new Set<ReasonName>([
  'not-ip',
  'not-tcp',
  'not-syn',
  'no-service',
  'denied',
  'verified',
  'within-limit',
  'challenged',
]);

/** How paths end. In a dry run everything passes, and what would have been is counted apart. */
export class Exits {
  readonly dryRun: boolean;
  readonly #count: Func<readonly [32], 32>;
  readonly #builder: XdpBuilder;
  readonly #maps: ProtectionMaps;

  readonly outcome: boolean;

  /** `outcome` writes down each frame's reason, for who replays frames one by one. */
  constructor($: XdpBuilder, maps: ProtectionMaps, dryRun: boolean, outcome: boolean) {
    this.#builder = $;
    this.#maps = maps;
    this.outcome = outcome;
    this.#count = func('count', [32], 32, (inner, index) => {
      count(inner, maps, index);
      return 0;
    });
    this.dryRun = dryRun;
  }

  readonly leave: Leave = (name) => {
    const reason = reasonOf(name);
    this.#writeDown(reason.index);
    this.#add(reason.index + this.#shift(reason), OFTEN.has(name));
    return this.dryRun ? XDP.PASS : ACTIONS[reason.verdict];
  };

  /** Drops for one of several reasons. */
  dropFor(index: Int<32>): XdpAction {
    this.#writeDown(index);
    this.#add(this.dryRun ? index.add(reasons.length) : index, true);
    return this.dryRun ? XDP.PASS : XDP.DROP;
  }

  /** Counts in place where it is often: a call of a function costs as much as the counting. */
  #add(index: Int<32> | number, often: boolean): void {
    if (often) count(this.#builder, this.#maps, index);
    else this.#builder.invoke(this.#count, index);
  }

  #writeDown(reason: Int<32> | number): void {
    if (this.outcome) this.#builder.at(outcomeMap, 0).set({ reason });
  }

  #shift({ verdict }: Reason): number {
    return this.dryRun && verdict !== 'pass' ? reasons.length : 0;
  }
}
