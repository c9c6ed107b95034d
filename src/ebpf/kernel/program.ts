import type { Type } from '../btf/type.ts';
import type { MapKind } from '../dsl/map-kind.ts';
import type { MapSpec } from '../dsl/map.ts';
import type { ProgramSpec } from '../dsl/program.ts';
import { DslError } from '../errors.ts';
import type { Backend } from '../ir/compile.ts';
import { CallSite } from '../source-location.ts';
import { attr, attribute } from '../sys/attr.ts';
import { adopt, commandError, objectInfo, openById, openCommand, tryCommand } from '../sys/bpf.ts';
import type { Descriptor } from '../sys/descriptor.ts';
import { addressOf } from '../sys/libc.ts';
import { ProgramType } from '../uapi/constants.gen.ts';
import type { BpfMap } from './bpf-map.ts';
import type { ProgramImage } from './image.ts';
import { type AnyMap, loadImage, loadInstructions, prepare } from './load.ts';
import { openPinned, pinObject } from './pin.ts';

export interface LoadOptions {
  /** Maps that exist already, to be used in place of new ones of the same name. The caller keeps them. */
  readonly maps?: readonly AnyMap[];
  readonly backend?: Backend;
}

export interface TestRunOptions {
  /** The frame. */
  readonly data: Uint8Array;
  /** `struct xdp_md` in, 24 bytes; where it is given, its `data_end` must be the frame's length. */
  readonly context?: Uint8Array;
  readonly repeat?: number;
  /** Sends the frames of verdict TX, PASS and REDIRECT for real. Linux 5.18. */
  readonly liveFrames?: boolean;
  /** Frames at a time, live only. */
  readonly batchSize?: number;
}

export interface TestRunResult {
  readonly verdict: number;
  /** The frame as the program left it; empty for live frames. */
  readonly data: Buffer;
  readonly context: Buffer;
  /** Mean nanoseconds of a run, as the kernel measured. */
  readonly nanoseconds: number;
}

/** `struct bpf_prog_info` (linux/bpf.h), the part that is used. */
export interface ProgramInfoResult {
  readonly type: number;
  readonly id: number;
  readonly name: string;
  /** Bytes of machine code; 0 where the JIT is off. */
  readonly jitedBytes: number;
  /** Instructions as the verifier rewrote them. */
  readonly instructions: number;
  /** Instructions that the verifier walked, every path together; 0 before Linux 5.16. */
  readonly verifiedInstructions: number;
  /** Runs and their time, while statistics are on (`kernel.bpf_stats_enabled`). */
  readonly runCount: bigint;
  readonly runNanoseconds: bigint;
}

const PROGRAM_INFO_SIZE = 224;
const LIVE_FRAMES = 1 << 1;
/** Room behind a frame for programs that make it longer. */
const GROWTH = 512;

/** A program in the kernel, with the maps it uses. */
export class Program implements Disposable {
  readonly name: string;
  /** How many instruction slots were loaded. */
  readonly size: number;
  readonly #descriptor: Descriptor;
  readonly #maps: ReadonlyMap<string, AnyMap>;
  readonly #owned: readonly BpfMap[];

  private constructor(
    descriptor: Descriptor,
    name: string,
    size: number,
    maps: ReadonlyMap<string, AnyMap>,
    owned: readonly BpfMap[],
  ) {
    this.#descriptor = descriptor;
    this.name = name;
    this.size = size;
    this.#maps = maps;
    this.#owned = owned;
  }

  /** Compiles and loads a program, making the maps it names. @throws VerifierError, SyscallError, DslError. */
  static load(spec: ProgramSpec, { maps: given = [], backend = 'optimizing' }: LoadOptions = {}): Program {
    const { maps, made, code, insns } = prepare(spec, given, backend);
    try {
      return new Program(loadInstructions(spec, code, insns), spec.name, insns.length / 8, maps, made);
    } catch (error) {
      for (const map of made) map[Symbol.dispose]();
      throw error;
    }
  }

  /** Loads a program that was compiled before, making the maps it names. @throws SyscallError. */
  static loadImage(image: ProgramImage, { maps: given = [] }: Pick<LoadOptions, 'maps'> = {}): Program {
    const { descriptor, maps, made } = loadImage(image, given);
    return new Program(descriptor, image.name, image.insns.length / 8, maps, made);
  }

  static openPinned(path: string): Program {
    const descriptor = openPinned(path, 'program');
    return Program.#adopt(descriptor);
  }

  static openById(id: number): Program {
    return Program.#adopt(openById('PROG_GET_FD_BY_ID', id));
  }

  static #adopt(opened: Descriptor): Program {
    return adopt(opened, (descriptor) => {
      const { name, instructions } = readProgramInfo(descriptor.fd, 'program');
      return new Program(descriptor, name, instructions, new Map(), []);
    });
  }

  get fd(): number {
    return this.#descriptor.fd;
  }

  get info(): ProgramInfoResult {
    return readProgramInfo(this.fd, `program ${this.name}`);
  }

  /** The map that was made, or given, for a spec. */
  map<K extends Type, V extends Type, Kind extends MapKind>(spec: MapSpec<K, V, Kind>): BpfMap<K, V, Kind> {
    const map = this.#maps.get(spec.name);
    if (!map) throw new DslError(`find map ${spec.name}: program ${this.name} does not use it`);
    return map as unknown as BpfMap<K, V, Kind>;
  }

  /** Runs the program on a frame, without any interface (BPF_PROG_TEST_RUN). */
  testRun(options: TestRunOptions): TestRunResult {
    const { data, context, repeat = 1, liveFrames = false, batchSize = 0 } = options;
    const out = Buffer.allocUnsafe(liveFrames ? 0 : data.length + GROWTH);
    const contextOut = Buffer.alloc(context && !liveFrames ? context.length : 0);
    const attributes = attribute(attr.testRun, {
      programFd: this.fd,
      dataSizeIn: data.length,
      dataIn: addressOf(data),
      dataSizeOut: out.length,
      dataOut: out.length > 0 ? addressOf(out) : 0n,
      repeat,
      flags: liveFrames ? LIVE_FRAMES : 0,
      batchSize,
      ...(context ? { ctxSizeIn: context.length, ctxIn: addressOf(context) } : {}),
      ...(contextOut.length > 0 ? { ctxSizeOut: contextOut.length, ctxOut: addressOf(contextOut) } : {}),
    });
    const result = tryCommand('PROG_TEST_RUN', attributes);
    if (!result.ok)
      throw commandError('PROG_TEST_RUN', `test-run program ${this.name}`, result.errno, TEST_RUN_ADVICE[result.errno]);
    const field = (name: 'retval' | 'dataSizeOut' | 'duration'): number =>
      attributes.readUInt32LE(attr.testRun.offsets[name]);
    return {
      verdict: field('retval'),
      data: out.subarray(0, field('dataSizeOut')),
      context: contextOut,
      nanoseconds: field('duration'),
    };
  }

  pin(path: string): void {
    pinObject(this.fd, path, `program ${this.name}`);
  }

  [Symbol.dispose](): void {
    this.#descriptor[Symbol.dispose]();
    for (const map of this.#owned) map[Symbol.dispose]();
  }
}

const TEST_RUN_ADVICE: Record<string, string> = {
  EINVAL:
    'the frame must have at least an Ethernet header and fit a page, and a context must agree with it; live frames need Linux 5.18',
  EINTR: 'a signal came; run it again',
};

function readProgramInfo(fd: number, what: string): ProgramInfoResult {
  const info = objectInfo(fd, PROGRAM_INFO_SIZE, what);
  return {
    type: info.readUInt32LE(0),
    id: info.readUInt32LE(4),
    jitedBytes: info.readUInt32LE(16),
    instructions: info.readUInt32LE(20) / 8,
    name: info.toString('latin1', 64, 80).replace(/\0.*$/, ''),
    runNanoseconds: info.readBigUInt64LE(192),
    runCount: info.readBigUInt64LE(200),
    verifiedInstructions: info.readUInt32LE(216),
  };
}

/** What the kinds of program are, and which link takes them. */
const LINKS = {
  XdpLink: { type: ProgramType.XDP, kind: 'an XDP program' },
  TcLink: { type: ProgramType.SCHED_CLS, kind: 'a program of traffic control' },
} as const;

export type LinkClass = keyof typeof LINKS;

/** @throws DslError for a program that a link of this class does not take, at the line of the author. */
export function requireTypeFor(link: LinkClass, program: Program): void {
  const { type } = program.info;
  if (type === LINKS[link].type) return;
  const taker = Object.entries(LINKS).find(([, of]) => of.type === type);
  const what = taker ? `${taker[1].kind}; ${taker[0]}.attach takes it` : `a program of type ${String(type)}`;
  throw new DslError(`attach program ${program.name} by ${link}: it is ${what}`, new CallSite().location);
}

/** Makes the kernel count the runs of all programs and their time, until disposed of; this costs about 25 ns a run. */
export function enableRunStatistics(): Descriptor {
  return openCommand('ENABLE_STATS', attribute(attr.id, { id: 0 }), 'enable run statistics');
}
