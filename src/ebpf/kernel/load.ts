/** BPF_PROG_LOAD: from a program as data to one in the kernel. */
import { encode } from '../asm/encode.ts';
import { FUNCTION_INFO_SIZE, LINE_INFO_SIZE, type ProgramInfo, programInfo } from '../btf/program-info.ts';
import type { MapSpec } from '../dsl/map.ts';
import { compile, type ProgramSpec, XDP_HAS_FRAGS } from '../dsl/program.ts';
import { SyscallError, UnsupportedError } from '../errors.ts';
import type { Backend, CompiledCode } from '../ir/compile.ts';
import { attr, attribute, objectName } from '../sys/attr.ts';
import { commandError, tryCommand } from '../sys/bpf.ts';
import { Descriptor } from '../sys/descriptor.ts';
import { addressOf } from '../sys/libc.ts';
import { BpfMap } from './bpf-map.ts';
import { loadBtf } from './btf-object.ts';
import { linked, type ProgramImage } from './image.ts';
import { kernelFunctionId } from './kernel-btf.ts';
import { kernelAtLeast } from './probes.ts';
import { VerifierError } from './verifier-error.ts';

/** A map of any shape. */
export type AnyMap = Pick<BpfMap, 'fd' | 'spec'>;

/** Instructions as the kernel takes them, and the maps that they name. */
export interface Prepared {
  readonly code: CompiledCode;
  readonly insns: Buffer;
  /** All maps by name. */
  readonly maps: ReadonlyMap<string, AnyMap>;
  /** Those that were made for it; the caller disposes of them. */
  readonly made: readonly BpfMap[];
}

/** Makes the maps of a program that are not given. @throws SyscallError. */
function completeMaps(
  specs: readonly MapSpec[],
  given: readonly AnyMap[],
): { maps: Map<string, AnyMap>; made: BpfMap[] } {
  const maps = new Map<string, AnyMap>(given.map((map) => [map.spec.name, map]));
  const made: BpfMap[] = [];
  try {
    for (const map of specs) {
      if (maps.has(map.name)) continue;
      const created = BpfMap.create(map);
      maps.set(map.name, created);
      made.push(created);
    }
    return { maps, made };
  } catch (error) {
    for (const map of made) map[Symbol.dispose]();
    throw error;
  }
}

/** Compiles a program and makes the maps that are not given. @throws DslError, SyscallError. */
export function prepare(spec: ProgramSpec, given: readonly AnyMap[], backend: Backend = 'optimizing'): Prepared {
  const { maps, made } = completeMaps(spec.maps, given);
  try {
    const code = compile(spec, backend);
    const starts = new Map(code.functions.map((fn) => [fn.name, fn.slot]));
    const insns = encode(code.insns, {
      mapDescriptor: (name) => maps.get(name)!.fd,
      functionSlot: (name) => starts.get(name)!,
      kernelFunction: kernelFunctionId,
    });
    return { code, insns, maps, made };
  } catch (error) {
    for (const map of made) map[Symbol.dispose]();
    throw error;
  }
}

/** Signals are blocked; the kernel can interrupt the verifier for other reasons (a debugger, a freezer), and the next try may have peace. */
const LOAD_TRIES = 10;
/** Two names of one number. */
const INTERRUPTED = new Set(['EAGAIN', 'EWOULDBLOCK']);

function tryLoad(attributes: Buffer): ReturnType<typeof tryCommand> {
  for (let left = LOAD_TRIES; ; left--) {
    const result = tryCommand('PROG_LOAD', attributes);
    if (result.ok || !INTERRUPTED.has(result.errno) || left === 1) return result;
  }
}

/** What the verifier is to write, and where. */
interface Log {
  readonly level: number;
  readonly buffer: Buffer;
}

/** Shows a program to the kernel once. The names of functions and lines go along. */
function loadOnce(
  spec: Pick<ProgramSpec, 'name' | 'type' | 'license' | 'flags'>,
  insns: Buffer,
  info: ProgramInfo,
  log?: Log,
): ReturnType<typeof tryCommand> {
  using btf = loadBtf(info.btf, `load program ${spec.name}`);
  const license = Buffer.from(`${spec.license}\0`);
  return tryLoad(
    attribute(attr.programLoad, {
      programType: spec.type,
      insnCount: insns.length / 8,
      insns: addressOf(insns),
      license: addressOf(license),
      programFlags: spec.flags,
      name: objectName(spec.name),
      btfFd: btf.fd,
      funcInfoSize: FUNCTION_INFO_SIZE,
      funcInfo: addressOf(info.functions),
      funcInfoCount: info.functions.length / FUNCTION_INFO_SIZE,
      lineInfoSize: LINE_INFO_SIZE,
      lineInfo: addressOf(info.lines),
      lineInfoCount: info.lines.length / LINE_INFO_SIZE,
      ...(log ? { logLevel: log.level, logSize: log.buffer.length, logBuffer: addressOf(log.buffer) } : {}),
    }),
  );
}

const written = (log: Buffer): Buffer => log.subarray(0, Math.max(0, log.indexOf(0)));

/** @throws SyscallError for a verifier that was interrupted, which says nothing about the program. */
function refuseInterrupted(what: string, { errno }: { readonly errno: string }): void {
  if (!INTERRUPTED.has(errno)) return;
  const advice = `the verifier was interrupted ${String(LOAD_TRIES)} times before it came to an end; try again`;
  throw commandError('PROG_LOAD', what, 'EAGAIN', advice);
}

/** What the verifier says of what it lets only processes with CAP_PERFMON do (`env->allow_ptr_leaks`, kernel/bpf/verifier.c). */
const FOR_ROOT = /!root/;

function lacksPermission(what: string, cause: VerifierError): SyscallError {
  const reason = `${what}: the verifier refused it to a process without CAP_PERFMON: ${cause.reason}; run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON`;
  return new SyscallError('bpf(BPF_PROG_LOAD)', 'EPERM', reason, { cause });
}

/** Verifier logs grow with the program; the last attempt has the largest buffer that every supported kernel takes. */
const LOG_SIZES = [1 << 20, 1 << 24];

/** Loads prepared instructions. @throws VerifierError, SyscallError, UnsupportedError. */
export function loadInstructions(spec: ProgramSpec, code: CompiledCode, insns: Buffer): Descriptor {
  const what = `load program ${spec.name}`;
  const info = programInfo(code);
  const first = loadOnce(spec, insns, info);
  if (first.ok) return new Descriptor(first.value, what);
  refuseInterrupted(what, first);
  // The verifier had come to its end: its log would tell of the last function that it found safe.
  if (first.errno === 'EMFILE') throw commandError('PROG_LOAD', what, first.errno);
  for (const size of LOG_SIZES) {
    const log = Buffer.alloc(size);
    const again = loadOnce(spec, insns, info, { level: 1, buffer: log });
    if (again.ok) return new Descriptor(again.value, what);
    refuseInterrupted(what, again);
    const text = written(log).toString('utf8');
    if (again.errno === 'ENOSPC' && size !== LOG_SIZES.at(-1)) continue;
    if (text === '') break;
    const refused = new VerifierError(spec.name, code, text, {
      cause: commandError('PROG_LOAD', what, again.errno, 'the verifier refused it'),
    });
    throw FOR_ROOT.test(refused.reason) ? lacksPermission(what, refused) : refused;
  }
  if (first.errno === 'EINVAL' && (spec.flags & XDP_HAS_FRAGS) !== 0 && !kernelAtLeast('5.18')) {
    throw new UnsupportedError('XDP programs for frames of several buffers', '5.18');
  }
  throw commandError('PROG_LOAD', what, first.errno);
}

/** What loading an image gives. */
export interface LoadedImage extends Pick<Prepared, 'maps' | 'made'> {
  readonly descriptor: Descriptor;
}

/** Loads an image. @throws SyscallError, without the verifier's reasons: an image does not know its source. */
export function loadImage(image: ProgramImage, given: readonly AnyMap[]): LoadedImage {
  const { maps, made } = completeMaps(image.maps, given);
  try {
    const what = `load program ${image.name}`;
    const insns = linked(image, { map: (name) => maps.get(name)!.fd, kernelFunction: kernelFunctionId });
    const result = loadOnce(image, insns, image.info);
    if (!result.ok) {
      refuseInterrupted(what, result);
      throw commandError('PROG_LOAD', what, result.errno);
    }
    return { descriptor: new Descriptor(result.value, what), maps, made };
  } catch (error) {
    for (const map of made) map[Symbol.dispose]();
    throw error;
  }
}

/** Room for all that the verifier writes at its most talkative (BPF_LOG_LEVEL2): a kilobyte an instruction, of a million. */
const EVERY_STEP = { level: 2, size: 1 << 30 };
const [NEWLINE, COLON, SPACE, BRACKET, ZERO, NINE] = Buffer.from('\n: (09');

/**
 * How often the verifier walks each instruction, by slot. It logs every step for this, which takes twenty times as long as a load: half a minute for
 * a quarter of a million steps. Steps that it recognises as walked before are not counted.
 * @throws SyscallError if the kernel refuses the program, or has less room for a log (before Linux 6.4).
 */
export function verifierVisits(spec: ProgramSpec): Uint32Array {
  const { code, insns, made } = prepare(spec, []);
  try {
    const buffer = Buffer.alloc(EVERY_STEP.size - 1);
    const result = loadOnce(spec, insns, { ...programInfo(code), lines: Buffer.alloc(0) }, { ...EVERY_STEP, buffer });
    if (!result.ok) throw commandError('PROG_LOAD', `count the verifier's steps in program ${spec.name}`, result.errno);
    new Descriptor(result.value, `load program ${spec.name}`)[Symbol.dispose]();
    return countVisits(written(buffer), insns.length / 8);
  } finally {
    for (const map of made) map[Symbol.dispose]();
  }
}

/** Counts the lines that begin with a slot and an opcode, like `12: (85) call`. */
function countVisits(log: Buffer, slots: number): Uint32Array {
  const visits = new Uint32Array(slots);
  for (let line = 0; line >= 0 && line < log.length; line = log.indexOf(NEWLINE!, line) + 1 || -1) {
    let at = line;
    let slot = 0;
    for (; log[at]! >= ZERO! && log[at]! <= NINE!; at++) slot = slot * 10 + log[at]! - ZERO!;
    if (at > line && log[at] === COLON && log[at + 1] === SPACE && log[at + 2] === BRACKET) visits[slot]!++;
  }
  return visits;
}
