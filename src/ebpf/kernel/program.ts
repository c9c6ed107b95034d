import { encode } from '../asm/encode.ts';
import { FUNCTION_INFO_SIZE, LINE_INFO_SIZE, programInfo } from '../btf/program-info.ts';
import type { Type } from '../btf/type.ts';
import type { MapSpec } from '../dsl/map.ts';
import { compile, type ProgramSpec } from '../dsl/program.ts';
import { DslError } from '../errors.ts';
import type { Backend, CompiledCode } from '../ir/compile.ts';
import { attr, attribute, objectName } from '../sys/attr.ts';
import { commandError, objectInfo, openById, openCommand, tryCommand } from '../sys/bpf.ts';
import { Descriptor } from '../sys/descriptor.ts';
import { addressOf } from '../sys/libc.ts';
import { BpfMap } from './bpf-map.ts';
import { kernelFunctionId } from './kernel-btf.ts';
import { loadBtf } from './btf-object.ts';
import { openPinned, pinObject } from './pin.ts';
import { VerifierError } from './verifier-error.ts';

/** A map of any shape. */
type AnyMap = Pick<BpfMap, 'fd' | 'spec'>;

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
/** Verifier logs grow with the program; the last attempt has the largest buffer that every supported kernel takes. */
const LOG_SIZES = [1 << 20, 1 << 24];
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
    const maps = new Map<string, AnyMap>(given.map((map) => [map.spec.name, map]));
    const made: BpfMap[] = [];
    try {
      for (const map of spec.maps) {
        if (maps.has(map.name)) continue;
        const created = BpfMap.create(map);
        maps.set(map.name, created);
        made.push(created);
      }
      const code = compile(spec, backend);
      const starts = new Map(code.functions.map((fn) => [fn.name, fn.slot]));
      const insns = encode(code.insns, {
        mapDescriptor: (name) => maps.get(name)!.fd,
        functionSlot: (name) => starts.get(name)!,
        kernelFunction: kernelFunctionId,
      });
      return new Program(loadInstructions(spec, code, insns), spec.name, insns.length / 8, maps, made);
    } catch (error) {
      for (const map of made) map[Symbol.dispose]();
      throw error;
    }
  }

  static openPinned(path: string): Program {
    const descriptor = openPinned(path, 'program');
    return Program.#adopt(descriptor);
  }

  static openById(id: number): Program {
    return Program.#adopt(openById('PROG_GET_FD_BY_ID', id));
  }

  static #adopt(descriptor: Descriptor): Program {
    const { name, instructions } = readProgramInfo(descriptor.fd, 'program');
    return new Program(descriptor, name, instructions, new Map(), []);
  }

  get fd(): number {
    return this.#descriptor.fd;
  }

  get info(): ProgramInfoResult {
    return readProgramInfo(this.fd, `program ${this.name}`);
  }

  /** The map that was made, or given, for a spec. */
  map<K extends Type, V extends Type, P extends boolean>(spec: MapSpec<K, V, P>): BpfMap<K, V, P> {
    const map = this.#maps.get(spec.name);
    if (!map) throw new DslError(`find map ${spec.name}: program ${this.name} does not use it`);
    return map as unknown as BpfMap<K, V, P>;
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

/** The verifier gives up with EAGAIN when a signal comes for the process (kernel/bpf/verifier.c); the next try may have peace. */
const LOAD_TRIES = 10;
/** Two names of one number. */
const INTERRUPTED = new Set(['EAGAIN', 'EWOULDBLOCK']);

function loadOnce(attributes: Buffer): ReturnType<typeof tryCommand> {
  for (let left = LOAD_TRIES; ; left--) {
    const result = tryCommand('PROG_LOAD', attributes);
    if (result.ok || !INTERRUPTED.has(result.errno) || left === 0) return result;
  }
}

function loadInstructions(spec: ProgramSpec, code: CompiledCode, insns: Buffer): Descriptor {
  const what = `load program ${spec.name}`;
  const info = programInfo(code);
  using btf = loadBtf(info.btf, what);
  const license = Buffer.from(`${spec.license}\0`);
  const attributes = (log?: Buffer): Buffer =>
    attribute(attr.programLoad, {
      programType: spec.type,
      insnCount: insns.length / 8,
      insns: addressOf(insns),
      license: addressOf(license),
      name: objectName(spec.name),
      btfFd: btf.fd,
      funcInfoSize: FUNCTION_INFO_SIZE,
      funcInfo: addressOf(info.functions),
      funcInfoCount: info.functions.length / FUNCTION_INFO_SIZE,
      lineInfoSize: LINE_INFO_SIZE,
      lineInfo: addressOf(info.lines),
      lineInfoCount: info.lines.length / LINE_INFO_SIZE,
      ...(log ? { logLevel: 1, logSize: log.length, logBuffer: addressOf(log) } : {}),
    });
  const first = loadOnce(attributes());
  if (first.ok) return new Descriptor(first.value, what);
  for (const size of LOG_SIZES) {
    const log = Buffer.alloc(size);
    const again = loadOnce(attributes(log));
    if (again.ok) return new Descriptor(again.value, what);
    const text = log.toString('utf8', 0, Math.max(0, log.indexOf(0)));
    if (again.errno === 'ENOSPC' && size !== LOG_SIZES.at(-1)) continue;
    if (text === '') break;
    throw new VerifierError(spec.name, code, text, {
      cause: commandError('PROG_LOAD', what, again.errno, 'the verifier refused it'),
    });
  }
  throw commandError('PROG_LOAD', what, first.errno);
}

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

/** Lets the kernel count runs of all programs and their time until disposed of, which costs about 25 ns a run. */
export function enableRunStatistics(): Descriptor {
  return openCommand('ENABLE_STATS', attribute(attr.id, { id: 0 }), 'enable run statistics');
}
