import { BpfMap, decodeValue, Program, RingBuffer, XdpLink, type XdpMode } from '../ebpf/index.ts';
import { type ProtectionMaps, SynEvent } from '../dataplane/maps.ts';
import { type Protection, protection } from '../dataplane/program.ts';
import { type ReasonName, reasons } from '../dataplane/reason.ts';
import { type CheckedLimits, checkLimits, type Limits } from '../policy/limits.ts';
import { type SynReport, synReport } from './syn-report.ts';

/** Totals since the protection began. */
export interface Stats {
  /** Frames that passed and that were dropped, every reason together. */
  readonly pass: bigint;
  readonly drop: bigint;
  /** In a dry run: frames that passed and would have been dropped. */
  readonly wouldDrop: bigint;
  /** Frames by reason. */
  readonly reasons: Readonly<Record<ReasonName, bigint>>;
  /** Events that no reader took in time. */
  readonly lostEvents: bigint;
}

export interface ProtectOptions {
  /** `auto`, the default, prefers native and says in `fallback` why it is not native. */
  readonly mode?: XdpMode | 'auto';
}

/** The maps of a protection in the kernel: they outlive the program when the limits change. */
function createMaps({ sources, counters, control, events }: ProtectionMaps) {
  const made: BpfMap[] = [];
  const own = <T extends BpfMap>(map: T): T => {
    made.push(map);
    return map;
  };
  try {
    return {
      sources: own(BpfMap.create(sources)),
      counters: own(BpfMap.create(counters)),
      control: own(BpfMap.create(control)),
      events: own(BpfMap.create(events)),
      lost: own(BpfMap.create(events.lost!)),
    };
  } catch (error) {
    for (const map of made) map[Symbol.dispose]();
    throw error;
  }
}

type KernelMaps = ReturnType<typeof createMaps>;

function load({ program }: Protection, maps: KernelMaps): Program {
  return Program.load(program, { maps: Object.values(maps) });
}

/** An interface under protection, until it is disposed of. */
export class ProtectedInterface implements Disposable {
  readonly interface: string;
  readonly #link: XdpLink;
  #program: Program;
  #protection: Protection;
  #maps: KernelMaps;
  readonly #readers = new Set<RingBuffer>();
  #open = true;

  constructor(interfaceName: string, limits: Limits, { mode = 'auto' }: ProtectOptions) {
    this.interface = interfaceName;
    this.#protection = protection(checkLimits(limits));
    this.#maps = createMaps(this.#protection.maps);
    let program: Program | undefined;
    try {
      program = load(this.#protection, this.#maps);
      this.#link = XdpLink.attach(program, interfaceName, { mode });
    } catch (error) {
      program?.[Symbol.dispose]();
      this.#closeMaps();
      throw error;
    }
    this.#program = program;
  }

  get limits(): CheckedLimits {
    return this.#protection.limits;
  }

  /** The mode it runs in. */
  get mode(): XdpMode {
    return this.#link.mode!;
  }

  /** Why it does not run in native mode, where `auto` could not. */
  get fallback(): string | undefined {
    return this.#link.fallback;
  }

  /** Instructions that were loaded. */
  get programSize(): number {
    return this.#program.size;
  }

  /** False once the interface is gone; the protection went with it. */
  get attached(): boolean {
    return this.#link.info.interfaceIndex !== 0;
  }

  /** Mean nanoseconds a frame, while the kernel keeps run statistics; undefined otherwise. */
  get nanosecondsPerFrame(): number | undefined {
    const { runCount, runNanoseconds } = this.#program.info;
    return runCount === 0n ? undefined : Number(runNanoseconds) / Number(runCount);
  }

  stats(): Stats {
    const counts = [...this.#maps.counters.entries()].toSorted(([a], [b]) => a - b);
    const sums = counts.map(([, perCpu]) => perCpu.reduce((sum, count) => sum + count, 0n));
    const sumOf = (verdict: 'pass' | 'drop', offset: number): bigint =>
      reasons
        .filter((reason) => reason.verdict === verdict)
        .reduce((sum, { index }) => sum + sums[index + offset]!, 0n);
    const lost = this.#maps.lost.lookup(0) ?? [];
    const wouldDrop = sumOf('drop', reasons.length);
    return {
      pass: sumOf('pass', 0) + wouldDrop,
      drop: sumOf('drop', 0),
      wouldDrop,
      reasons: Object.fromEntries(
        reasons.map(({ name, index }) => [name, sums[index]! + sums[index + reasons.length]!]),
      ) as Record<ReasonName, bigint>,
      lostEvents: lost.reduce((sum, count) => sum + count, 0n),
    };
  }

  /**
   * What becomes of each SYN, from now on. The kernel writes events only while they are read; what is not taken in time is
   * counted in `lostEvents`. Ends when the protection does. One reader at a time.
   */
  async *events(): AsyncGenerator<SynReport, void, void> {
    using ring = new RingBuffer(this.#maps.events, this.#maps.lost);
    this.#readers.add(ring);
    const { control } = this.#maps;
    control.update(0, { readers: 1 });
    try {
      for await (const batch of ring.batches((memory, offset) => decodeValue(SynEvent, memory, offset))) {
        for (const event of batch) yield synReport(event, this.limits);
      }
    } finally {
      this.#readers.delete(ring);
      if (this.#open) control.update(0, { readers: 0 });
    }
  }

  /** Changes the limits in one step, while frames keep coming; sources keep their state unless `maxSources` changes. */
  update(limits: Limits): void {
    const next = protection(checkLimits(limits));
    const resized = next.limits.maxSources !== this.limits.maxSources;
    const maps = resized ? { ...this.#maps, sources: BpfMap.create(next.maps.sources) } : this.#maps;
    let program: Program | undefined;
    try {
      program = load(next, maps);
      this.#link.update(program);
    } catch (error) {
      program?.[Symbol.dispose]();
      if (resized) maps.sources[Symbol.dispose]();
      throw error;
    }
    this.#program[Symbol.dispose]();
    if (resized) this.#maps.sources[Symbol.dispose]();
    this.#program = program;
    this.#protection = next;
    this.#maps = maps;
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    for (const ring of this.#readers) ring[Symbol.dispose]();
    this.#link[Symbol.dispose]();
    this.#program[Symbol.dispose]();
    this.#closeMaps();
  }

  #closeMaps(): void {
    for (const map of Object.values(this.#maps)) map[Symbol.dispose]();
  }
}

/**
 * Protects an interface of this network namespace from SYN floods: each source address may send `burst` SYNs at once and then
 * `rate`. Dispose of the result, or end the process, to stop.
 * @throws PolicyError for a limit that makes no sense, SyscallError where the interface refuses.
 */
export function protect(interfaceName: string, limits: Limits = {}, options: ProtectOptions = {}): ProtectedInterface {
  return new ProtectedInterface(interfaceName, limits, options);
}
