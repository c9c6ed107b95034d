/** Captures through the real program in the kernel, by its own timing: nothing is attached, no traffic is touched. */
import { Program, XDP } from '../ebpf/index.ts';
import { type Challenger, DEFAULT_STACK } from '../dataplane/cookie/challenger.ts';
import { clockFromMap, settableClock } from '../dataplane/state/clock.ts';
import { protection } from '../dataplane/pipeline.ts';
import { type ReasonName, reasonNumbered, type VerdictName } from '../dataplane/outcome/reason.ts';
import { tokensLeft } from '../dataplane/state/ticks.ts';
import { outcomeMap } from '../dataplane/outcome/exits.ts';
import { type CapturedPacket, CaptureError, LINKTYPE_ETHERNET } from '../net/capture.ts';
import type { Policy } from '../policy/policy.ts';
import { KernelMaps } from '../engine/kernel-maps.ts';
import { listCapacity, LiveLists, readLists } from '../engine/lists/lists.ts';
import { Owned } from '../engine/owned.ts';

/** What became of one packet of a capture. */
export interface Replayed {
  /** From 1, as capture readers count. */
  readonly n: number;
  readonly time: bigint;
  /** `skipped` for what cannot be run: shorter than an Ethernet header, or longer than a page holds. */
  readonly verdict: VerdictName | 'skipped';
  readonly reason: ReasonName | 'too-short' | 'too-large';
  readonly service?: string;
  /** Tokens of the source before and after, of the service's burst; absent where its bucket was not asked. */
  readonly tokens?: { readonly before: number; readonly after: number };
  /** The frame that is sent back. */
  readonly reply?: Buffer;
}

const SMALLEST = 14;
/** Bytes of a page that a frame may use; the rest is the kernel's (net/bpf/test_run.c). */
const LARGEST = 3520;
/** The same secrets each time, so that a replay gives the same cookies. */
const KEYS = {
  hashStart: [0x243f_6a88_85a3_08d3n, 0x1319_8a2e_0370_7344n],
  hashMultiplier: 0x9e37_79b9_7f4a_7c15n,
  hashFinish: 0xbf58_476d_1ce4_e5b9n,
  cookie: Array.from({ length: 8 }, (_, index) => (0x452821e638d01377n * BigInt(index + 1)) & 0xffff_ffff_ffff_ffffn),
};
const VERDICTS: Record<number, VerdictName> = {
  [XDP.PASS.code]: 'pass',
  [XDP.DROP.code]: 'drop',
  [XDP.TX.code]: 'answer',
};

/** A policy's program, ready for frames. */
export class Replay implements Disposable {
  readonly #policy: Policy;
  readonly #owned = new Owned();
  readonly #program: Program;
  readonly #time: BigUint64Array;
  readonly #words: Uint32Array;
  #n = 0;

  constructor(policy: Policy) {
    this.#policy = policy;
    const lists = readLists(policy);
    // The kernel's own cookies would be this host's.
    const challenger: Challenger = {
      form: 'assign',
      forms: { reset: 'reset' },
      stack: DEFAULT_STACK,
      assumeListening: true,
    };
    const built = protection(policy, { clock: clockFromMap, lists: listCapacity(lists), challenger, outcome: true });
    try {
      const maps = this.#owned.own(KernelMaps.create(built.maps, policy));
      maps.get(built.maps.keys).update(0, KEYS);
      this.#owned.own(new LiveLists(maps, built.maps, lists));
      this.#program = this.#owned.own(Program.load(built.program, { maps: maps.all }));
      this.#time = new BigUint64Array(this.#owned.own(this.#program.map(settableClock).mmap()).memory, 0, 1);
      this.#words = new Uint32Array(this.#owned.own(this.#program.map(outcomeMap).mmap()).memory, 0, 4);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** Runs the next packet. @throws CaptureError for a capture of anything but Ethernet. */
  run({ time, data, length, linkType }: CapturedPacket): Replayed {
    const n = ++this.#n;
    if (linkType !== LINKTYPE_ETHERNET)
      throw new CaptureError(
        `packet ${String(n)} is of link type ${String(linkType)}; only Ethernet (1) can be replayed`,
        0,
      );
    if (data.length < SMALLEST) return { n, time, verdict: 'skipped', reason: 'too-short' };
    if (Math.max(length, data.length) > LARGEST) return { n, time, verdict: 'skipped', reason: 'too-large' };
    // What the capture cut off is made up with zeros, so that lengths are right.
    const frame = data.length < length ? Buffer.concat([data, Buffer.alloc(length - data.length)]) : data;
    this.#time[0] = time;
    this.#words[1] = 0xffff;
    const { verdict, data: after } = this.#program.testRun({ data: frame });
    const reason = reasonNumbered(this.#words[0]!).name;
    const kind = VERDICTS[verdict] ?? 'drop';
    const service = this.#policy.services[this.#words[1]];
    return {
      n,
      time,
      verdict: kind,
      reason,
      ...(service ? { service: service.name, ...this.#tokens(service) } : {}),
      ...(kind === 'answer' ? { reply: Buffer.from(after) } : {}),
    };
  }

  #tokens({ limits }: Policy['services'][number]): Pick<Replayed, 'tokens'> {
    const [before, after] = [this.#words[2]!, this.#words[3]!];
    // A bucket that was asked has a cell ahead of the clock.
    if (!limits.source || after === 0) return {};
    const left = (ahead: number): number => tokensLeft(this.#policy, limits.source!, ahead);
    return { tokens: { before: left(before), after: left(after) } };
  }

  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}
