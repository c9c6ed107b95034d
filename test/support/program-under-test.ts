import { probeKernelFunction, Program, XDP } from '../../src/ebpf/index.ts';
import { KernelMaps } from '../../src/engine/kernel-maps.ts';
import { listCapacity, LiveLists, readLists } from '../../src/engine/lists/lists.ts';
import type { Challenger } from '../../src/dataplane/cookie/challenger.ts';
import type { LinkKind } from '../../src/dataplane/frame/link.ts';
import { clockFromMap, settableClock } from '../../src/dataplane/state/clock.ts';
import type { Connections } from '../../src/dataplane/state/connections.ts';
import { type Protection, protection } from '../../src/dataplane/pipeline.ts';
import { COUNTERS } from '../../src/dataplane/outcome/exits.ts';
import { REASON_NUMBERS } from '../../src/dataplane/outcome/verdict.ts';
import { type ReasonName, reasonNumbered, reasonOf } from '../../src/dataplane/outcome/reason.ts';
import { resolvePolicy } from '../../src/policy/policy.ts';
import type { PolicyInput } from '../../src/policy/schema.ts';
import type { ModelKeys } from './model.ts';

/** What a kernel under test can be asked for. */
export const CONNECTIONS: Connections = {
  tracking: probeKernelFunction('bpf_xdp_ct_lookup', '6.0').available,
  knowsHost: false,
};

export const KEYS = {
  hashStart: [0x243f_6a88_85a3_08d3n, 0x1319_8a2e_0370_7344n],
  hashMultiplier: 0x9e37_79b9_7f4a_7c15n,
  hashFinish: 0xbf58_476d_1ce4_e5b9n,
  cookie: [1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n].map((word) => word * 0x0101_0101_0101_0101n),
};

/** The data plane in the kernel under a clock that tests set, not attached to anything. */
export class ProgramUnderTest implements Disposable {
  readonly protection: Protection;
  readonly program: Program;
  readonly maps: KernelMaps;
  readonly keys: ModelKeys = KEYS;
  readonly #lists: LiveLists;
  #counts: bigint[];
  #frames = 0;

  constructor(
    input: PolicyInput = {},
    challenger?: Challenger,
    link: LinkKind = 'ethernet',
    connections?: Connections,
  ) {
    const policy = resolvePolicy(input);
    const lists = readLists(policy);
    this.protection = protection(policy, {
      clock: clockFromMap,
      lists: listCapacity(lists),
      link,
      challenger,
      connections,
    });
    this.maps = KernelMaps.create(this.protection.maps, policy);
    this.maps.get(this.protection.maps.keys).update(0, KEYS);
    this.#lists = new LiveLists(this.maps, this.protection.maps, lists);
    this.program = Program.load(this.protection.program, { maps: this.maps.all });
    this.#counts = this.#read();
  }

  at(time: bigint): this {
    this.program.map(settableClock).update(0, time);
    return this;
  }

  /**
   * Runs a frame through: verdict, the one reason that was counted, and the frame afterwards. Where the reason is the expected one
   * only its counter is read; `checkTotals` sees in the end that none counted besides.
   */
  judge(
    data: Uint8Array,
    expected?: ReasonName,
  ): { verdict: 'pass' | 'drop' | 'answer' | 'other'; reason: ReasonName; data: Buffer } {
    const { verdict, data: after } = this.program.testRun({ data });
    this.#frames++;
    const names = { [XDP.PASS.code]: 'pass', [XDP.DROP.code]: 'drop', [XDP.TX.code]: 'answer' } as const;
    if (expected !== undefined) {
      const { number, verdict: kind } = reasonOf(expected);
      const at = number + (this.protection.policy.dryRun && kind !== 'pass' ? REASON_NUMBERS : 0);
      // The row of no service, and that of each.
      for (let place = at; place < this.#counts.length; place += COUNTERS) {
        const count = this.maps
          .get(this.protection.maps.counters)
          .lookup(place)!
          .reduce((sum, one) => sum + one, 0n);
        if (count !== this.#counts[place]! + 1n) continue;
        this.#counts[place] = count;
        return { verdict: names[verdict] ?? 'other', reason: expected, data: after };
      }
    }
    const counts = this.#read();
    const changed = counts.flatMap((count, index) => (count === this.#counts[index] ? [] : [index]));
    this.#counts = counts;
    if (changed.length !== 1) throw new Error(`${String(changed.length)} reasons were counted for one frame`);
    return {
      verdict: names[verdict] ?? 'other',
      reason: reasonNumbered(changed[0]! % REASON_NUMBERS).name,
      data: after,
    };
  }

  /** @throws Error where the counters do not add up to the frames that were judged. */
  checkTotals(): void {
    const total = this.#read().reduce((sum, one) => sum + one, 0n);
    if (total !== BigInt(this.#frames))
      throw new Error(`${String(this.#frames)} frames were counted ${String(total)} times`);
  }

  count(name: ReasonName, dryRun = false): bigint {
    const at = reasonOf(name).number + (dryRun ? REASON_NUMBERS : 0);
    return this.#read().reduce((sum, count, place) => (place % COUNTERS === at ? sum + count : sum), 0n);
  }

  #read(): bigint[] {
    const all = [...this.maps.get(this.protection.maps.counters).entries()].toSorted(([a], [b]) => a - b);
    return all.map(([, perCpu]) => perCpu.reduce((sum, one) => sum + one, 0n));
  }

  [Symbol.dispose](): void {
    this.program[Symbol.dispose]();
    this.#lists[Symbol.dispose]();
    this.maps[Symbol.dispose]();
  }
}
