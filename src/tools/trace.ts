import {
  probeHelper,
  Program,
  type ProgramSpec,
  requireFeature,
  RingBuffer,
  XdpLink,
  type XdpMode,
} from '../ebpf/index.ts';
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
    this.#before = inPlaceOf?.program;
    requireFeature(probeHelper('xdp_load_bytes'));
    this.#program = Program.load(traceProgram({ synOnly }));
    try {
      inPlaceOf?.link.update(this.#program);
      this.#link = inPlaceOf?.link ?? XdpLink.attach(this.#program, interfaceName, { mode });
    } catch (error) {
      this.#program[Symbol.dispose]();
      throw error;
    }
    this.#ring = new RingBuffer(this.#program.map(traceRing), this.#program.map(traceRing.lost));
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
    if (this.#before) {
      using program = Program.load(this.#before);
      this.#link.update(program);
      this.#before = undefined;
    }
    this.#link[Symbol.dispose]();
    this.#program[Symbol.dispose]();
  }
}
