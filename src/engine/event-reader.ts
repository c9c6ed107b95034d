import { BpfMap, decodeValue, RingBuffer } from '../ebpf/index.ts';
import { SynEvent } from '../dataplane/outcome/events.ts';
import type { ProtectionMaps } from '../dataplane/pipeline.ts';
import type { Policy } from '../policy/policy.ts';
import type { KernelMaps } from './kernel-maps.ts';
import { Owned } from './owned.ts';
import { type SynReport, synReport } from './syn-report.ts';

/** How long a program that was replaced may still write its last events: far more than a frame takes. */
const GRACE_MS = 50;

/** A ring with descriptors of its own, so that it outlives the generation it came from. */
export class Source implements Disposable {
  readonly id: number;
  readonly ring: RingBuffer;
  readonly #owned: Owned;

  private constructor(owned: Owned, maps: KernelMaps, { events }: ProtectionMaps) {
    this.#owned = owned;
    this.id = maps.get(events).info.id;
    this.ring = owned.own(new RingBuffer(owned.own(BpfMap.openById(this.id, events))));
  }

  static open(maps: KernelMaps, specs: ProtectionMaps): Source {
    return Owned.make((owned) => new Source(owned, maps, specs));
  }

  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}

/** Reads an interface's events across generations: a ring that was replaced is read to its end first. */
export class EventReader implements Disposable {
  readonly #sources: Source[];

  constructor(source: Source) {
    this.#sources = [source];
  }

  /** Goes on with another ring once this one is empty; the same ring stays. */
  follow(next: Source): void {
    const last = this.#sources.at(-1);
    if (!last) {
      next[Symbol.dispose]();
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

  async *reports(policy: () => Policy): AsyncGenerator<SynReport, void, void> {
    for (let source = this.#sources[0]; source; source = this.#sources[0]) {
      for await (const batch of source.ring.batches((memory, offset) => decodeValue(SynEvent, memory, offset)))
        for (const event of batch) yield synReport(event, policy());
      this.#sources.shift();
      source[Symbol.dispose]();
    }
  }

  [Symbol.dispose](): void {
    for (const source of this.#sources.splice(0)) source[Symbol.dispose]();
  }
}
