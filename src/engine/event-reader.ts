import { BpfMap, decodeValue, RingBuffer } from '../ebpf/index.ts';
import { SynEvent } from '../dataplane/outcome/events.ts';
import type { ProtectionMaps } from '../dataplane/pipeline.ts';
import type { Policy } from '../policy/policy.ts';
import type { KernelMaps } from './kernel-maps.ts';
import { Owned } from './owned.ts';
import { type SynReport, synReport } from './syn-report.ts';

/** How long a program that was replaced may still write its last events: far more than a frame takes. */
const GRACE_MS = 50;

/** A ring with descriptors of its own, so that it outlives the generation it came from, and the policies that its events were written under. */
export class Source implements Disposable {
  readonly id: number;
  readonly ring: RingBuffer;
  readonly #owned: Owned;
  /** From which place in the ring on each policy holds, in order; the first is the one of the event that was read last. */
  readonly #policies: { readonly from: number; readonly policy: Policy }[];

  private constructor(owned: Owned, maps: KernelMaps, { events }: ProtectionMaps, policy: Policy) {
    this.#owned = owned;
    this.id = maps.get(events).info.id;
    this.ring = owned.own(new RingBuffer(owned.own(BpfMap.openById(this.id, events))));
    this.#policies = [{ from: 0, policy }];
  }

  static open(maps: KernelMaps, specs: ProtectionMaps, policy: Policy): Source {
    return Owned.make((owned) => new Source(owned, maps, specs, policy));
  }

  /** Events that are written from here on are another policy's. */
  writesUnder(policy: Policy): void {
    this.#policies.push({ from: this.ring.position, policy });
  }

  /** The policy that the event at this place was written under. Events are read in order. */
  policyAt(position: number): Policy {
    while (this.#policies.length > 1 && this.#policies[1]!.from <= position) this.#policies.shift();
    return this.#policies[0]!.policy;
  }

  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}

const reportFrom =
  (source: Source) =>
  (memory: Buffer, offset: number, _length: number, position: number): SynReport =>
    synReport(decodeValue(SynEvent, memory, offset), source.policyAt(position));

/** Reads an interface's events across generations: a ring that was replaced is read to its end first. */
export class EventReader implements Disposable {
  readonly #sources: Source[];

  constructor(source: Source) {
    this.#sources = [source];
  }

  /** Another policy came into force: goes on with its ring once this one is empty, or in the same ring where it has no other. */
  follow(policy: Policy, next?: Source): void {
    const last = this.#sources.at(-1);
    if (!last || !next) {
      last?.writesUnder(policy);
      next?.[Symbol.dispose]();
      return;
    }
    this.#sources.push(next);
    setTimeout(() => {
      last.ring.finish();
    }, GRACE_MS).unref();
  }

  /** The ring that is read last. */
  get id(): number | undefined {
    return this.#sources.at(-1)?.id;
  }

  async *reports(): AsyncGenerator<SynReport, void, void> {
    for (let source = this.#sources[0]; source; source = this.#sources[0]) {
      for await (const batch of source.ring.batches(reportFrom(source))) yield* batch;
      this.#sources.shift();
      source[Symbol.dispose]();
    }
  }

  [Symbol.dispose](): void {
    for (const source of this.#sources.splice(0)) source[Symbol.dispose]();
  }
}
