/** What the counters in the kernel say, by reason and by service. */
import { COUNTERS } from '../dataplane/outcome/exits.ts';
import { type ReasonName, reasons, type VerdictName } from '../dataplane/outcome/reason.ts';
import { REASON_NUMBERS } from '../dataplane/outcome/verdict.ts';
import type { Protection } from '../dataplane/pipeline.ts';
import type { KernelMaps } from './kernel-maps.ts';

export type ReasonCounts = Readonly<Record<ReasonName, bigint>>;

/** Frames by verdict and reason. */
export interface Totals {
  /** Frames that passed, that were dropped, and that were answered with a challenge, every reason together. */
  readonly pass: bigint;
  readonly drop: bigint;
  readonly answer: bigint;
  /** In a dry run: frames that passed and would have been dropped or challenged. */
  readonly wouldDrop: bigint;
  readonly wouldAnswer: bigint;
  /** Frames by reason. */
  readonly reasons: ReasonCounts;
  /** Frames by service and reason, from where their service was known. A service that the policy has no more keeps its counts. */
  readonly services: Readonly<Record<string, ReasonCounts>>;
}

/** A row of counters: by the number of the reason, and behind them those of a dry run. */
type Row = readonly bigint[];
/** Rows by the name of their service; frames of no service have none. */
type Rows = ReadonlyMap<string | undefined, Row>;

const EMPTY: Row = Array.from({ length: COUNTERS }, () => 0n);
const sum = (a: Row, b: Row): Row => a.map((count, at) => count + b[at]!);

function readRows(maps: KernelMaps, { maps: specs, policy }: Protection): Rows {
  const counts = [...maps.get(specs.counters).entries()].toSorted(([a], [b]) => a - b);
  const sums = counts.map(([, perCpu]) => perCpu.reduce((total, count) => total + count, 0n));
  const names = [undefined, ...policy.services.map(({ name }) => name)];
  return new Map(names.map((name, row) => [name, sums.slice(row * COUNTERS, (row + 1) * COUNTERS)]));
}

function byReason(row: Row): ReasonCounts {
  return Object.fromEntries(
    reasons.map(({ name, number }) => [name, row[number]! + row[number + REASON_NUMBERS]!]),
  ) as Record<ReasonName, bigint>;
}

/** Totals of one interface. A change of services changes the maps; the counts before it are kept here. */
export class Counters {
  #before: Rows = new Map();
  /** Frames of self-tests by counter: those that the maps in force hold, and those of maps before them. */
  #tested = new Map<number, number>();
  readonly #testedBefore = new Map<number, number>();

  /** What the maps in force hold of self-tests. */
  get tested(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#tested);
  }

  /** Takes what the maps of an earlier process hold of self-tests. */
  adopt(tested: Readonly<Record<string, number>>): void {
    for (const [counter, frames] of Object.entries(tested)) this.countTested(Number(counter), frames);
  }

  readonly countTested = (counter: number, frames = 1): void => {
    this.#tested.set(counter, (this.#tested.get(counter) ?? 0) + frames);
  };

  read(maps: KernelMaps, protection: Protection): Totals {
    const rows = this.#with(readRows(maps, protection));
    const tested = EMPTY.map((_, at) => -BigInt((this.#tested.get(at) ?? 0) + (this.#testedBefore.get(at) ?? 0)));
    const all = [...rows.values()].reduce(sum, tested);
    const sumOf = (verdict: VerdictName, offset: number): bigint =>
      reasons
        .filter((reason) => reason.verdict === verdict)
        .reduce((total, { number }) => total + all[number + offset]!, 0n);
    const [wouldDrop, wouldAnswer] = [sumOf('drop', REASON_NUMBERS), sumOf('answer', REASON_NUMBERS)];
    const services = [...rows].flatMap(([name, row]) => (name === undefined ? [] : [[name, byReason(row)] as const]));
    return {
      pass: sumOf('pass', 0) + wouldDrop + wouldAnswer,
      drop: sumOf('drop', 0),
      answer: sumOf('answer', 0),
      wouldDrop,
      wouldAnswer,
      reasons: byReason(all),
      services: Object.fromEntries(services),
    };
  }

  /** Keeps what maps counted whose program is not in force any more. `fresh` is what a self-test left in those that took their place. */
  retire(maps: KernelMaps, protection: Protection, fresh: ReadonlyMap<number, number>): void {
    this.#before = this.#with(readRows(maps, protection));
    for (const [counter, frames] of this.#tested) {
      const earlier = frames - (fresh.get(counter) ?? 0);
      this.#testedBefore.set(counter, (this.#testedBefore.get(counter) ?? 0) + earlier);
    }
    this.#tested = new Map(fresh);
  }

  #with(rows: Rows): Rows {
    const all = new Map(this.#before);
    for (const [name, row] of rows) all.set(name, sum(all.get(name) ?? EMPTY, row));
    return all;
  }
}
