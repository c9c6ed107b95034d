import {
  probeHelper,
  Program,
  type ProgramSpec,
  requireFeature,
  RingBuffer,
  XdpLink,
  type XdpMode,
} from '../ebpf/index.ts';
import { linkKindOf } from '../engine/link.ts';
import { PolicyError } from '../policy/policy-error.ts';
import { attemptAll, throwFirst, transact } from '../engine/transaction.ts';
import { SNAP_LENGTH, TraceRecord, traceProgram, traceRing } from '../dataplane/trace.ts';

/** A frame that was seen: nanoseconds since 1970, its bytes as far as they were copied, and how long it was. */
export interface TracedFrame {
  readonly time: bigint;
  readonly data: Buffer;
  readonly length: number;
}

export interface TraceOptions {
  readonly synOnly?: boolean;
  readonly mode?: XdpMode | 'auto';
  /** A link on the interface whose program makes place meanwhile. */
  readonly inPlaceOf?: { readonly link: XdpLink; readonly program: ProgramSpec } | undefined;
}

/** Watches the TCP segments that come in by an interface, until it is disposed of. Drops nothing. */
export class Trace implements Disposable {
  readonly #program: Program;
  readonly #link: XdpLink;
  readonly #ring: RingBuffer;
  #lostInAll: bigint | undefined;
  /** What to put back in the end. */
  #before: ProgramSpec | undefined;
  /** From the kernel's monotonic clock to the time of day. */
  readonly #epoch = BigInt(Date.now()) * 1_000_000n - process.hrtime.bigint();

  constructor(interfaceName: string, { synOnly = false, mode = 'auto', inPlaceOf }: TraceOptions = {}) {
    requireFeature(probeHelper('xdp_load_bytes'));
    if (linkKindOf(interfaceName) !== 'ethernet')
      throw new PolicyError(
        'interface',
        `${interfaceName} has no Ethernet frames, and trace reads no others; tcpdump does`,
      );
    const made = transact((transaction) => {
      const program = transaction.own(() => Program.load(traceProgram({ synOnly })));
      const link = transaction.own(() => inPlaceOf?.link ?? XdpLink.attach(program, interfaceName, { mode }));
      if (inPlaceOf) {
        transaction.step(
          () => {
            link.update(program);
          },
          () => {
            putBack(link, inPlaceOf.program);
          },
        );
      }
      const ring = transaction.own(() => new RingBuffer(program.map(traceRing), program.map(traceRing.lost)));
      return { program, link, ring };
    });
    this.#program = made.program;
    this.#link = made.link;
    this.#ring = made.ring;
    this.#before = inPlaceOf?.program;
  }

  get mode(): XdpMode {
    return this.#link.mode!;
  }

  get fallback(): string | undefined {
    return this.#link.fallback;
  }

  /** Segments that found no room in the buffer; until the end, where it has ended. */
  get lost(): bigint {
    return this.#lostInAll ?? this.#ring.lost;
  }

  /** The segments as they come; ends when the trace is disposed of. */
  async *frames(): AsyncGenerator<TracedFrame, void, void> {
    const { time, length, captured, frame } = TraceRecord.offsets;
    const decode = (memory: Buffer, offset: number): TracedFrame => ({
      time: memory.readBigUInt64LE(offset + time) + this.#epoch,
      length: memory.readUInt32LE(offset + length),
      data: Buffer.from(
        memory.subarray(offset + frame, offset + frame + Math.min(SNAP_LENGTH, memory.readUInt32LE(offset + captured))),
      ),
    });
    for await (const batch of this.#ring.batches(decode)) yield* batch;
  }

  [Symbol.dispose](): void {
    this.#lostInAll ??= this.#ring.lost;
    this.#ring[Symbol.dispose]();
    const before = this.#before;
    this.#before = undefined;
    throwFirst(
      attemptAll([
        () => {
          if (before) putBack(this.#link, before);
        },
        () => {
          this.#link[Symbol.dispose]();
        },
        () => {
          this.#program[Symbol.dispose]();
        },
      ]),
    );
  }
}

/** Gives a link the program back that made place. */
function putBack(link: XdpLink, before: ProgramSpec): void {
  using program = Program.load(before);
  link.update(program);
}
