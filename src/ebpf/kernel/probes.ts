/** What this kernel can do, found by trying, with the release that should have brought it. */
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { encode } from '../asm/encode.ts';
import { instruction } from '../asm/instruction.ts';
import { Alu, Class, Jump } from '../asm/opcode.ts';
import { UnsupportedError } from '../errors.ts';
import { attr, attribute } from '../sys/attr.ts';
import { type CommandName, commandError, tryCommand } from '../sys/bpf.ts';
import { addressOf, close, type Result } from '../sys/libc.ts';
import { MapType, ProgramType } from '../uapi/constants.gen.ts';
import { helpers } from '../uapi/helpers.gen.ts';
import type { HelperName } from '../dsl/helper-arguments.ts';

/** The answer of a probe. */
export interface Feature {
  readonly name: string;
  readonly available: boolean;
  /** The release that has it. A kernel may have it earlier: distributions carry features back. */
  readonly since: string;
}

/** The release that brought each type of map that the toolkit makes, and a shape that the kernel accepts. */
const MAP_PROBES = {
  ARRAY: { since: '3.19', keySize: 4, valueSize: 4 },
  PERCPU_ARRAY: { since: '4.6', keySize: 4, valueSize: 4 },
  HASH: { since: '3.19', keySize: 4, valueSize: 4 },
  LRU_HASH: { since: '4.10', keySize: 4, valueSize: 4 },
  PERCPU_HASH: { since: '4.6', keySize: 4, valueSize: 4 },
  LRU_PERCPU_HASH: { since: '4.10', keySize: 4, valueSize: 4 },
  LPM_TRIE: { since: '4.11', keySize: 8, valueSize: 4, mapFlags: 1 },
  ARRAY_OF_MAPS: { since: '4.12', keySize: 4, valueSize: 4 },
  HASH_OF_MAPS: { since: '4.12', keySize: 4, valueSize: 4 },
  PROG_ARRAY: { since: '4.2', keySize: 4, valueSize: 4 },
  DEVMAP: { since: '4.14', keySize: 4, valueSize: 4 },
  DEVMAP_HASH: { since: '5.4', keySize: 4, valueSize: 4 },
  CPUMAP: { since: '4.15', keySize: 4, valueSize: 4 },
  RINGBUF: { since: '5.8', keySize: 0, valueSize: 0, maxEntries: 4096 },
} as const satisfies Partial<Record<keyof typeof MapType, object>>;

const PROGRAM_PROBES = {
  SOCKET_FILTER: '3.19',
  SCHED_CLS: '4.1',
  XDP: '4.8',
} as const satisfies Partial<Record<keyof typeof ProgramType, string>>;

export function probeMapType(type: keyof typeof MAP_PROBES): Feature {
  const { since, ...shape } = MAP_PROBES[type];
  const create = (attributes: Parameters<typeof attribute<typeof attr.mapCreate.fields>>[1]): Result =>
    answered('MAP_CREATE', tryCommand('MAP_CREATE', attribute(attr.mapCreate, { maxEntries: 1, ...attributes })));
  const inner = type.endsWith('_OF_MAPS') ? create({ mapType: MapType.ARRAY, keySize: 4, valueSize: 4 }) : undefined;
  const result = create({ mapType: MapType[type], ...shape, ...(inner?.ok ? { innerMapFd: inner.value } : {}) });
  for (const made of [inner, result]) if (made?.ok) close(made.value);
  return { name: `map type ${type}`, available: result.ok, since };
}

/** An answer of the kernel. @throws SyscallError where it did not let us ask, which says nothing of what it can do. */
function answered(command: CommandName, result: Result): Result {
  if (!result.ok && result.errno === 'EPERM') throw commandError(command, 'probe the kernel', result.errno);
  return result;
}

function loadProbe(programType: number, helper?: number): { ok: boolean; log: string } {
  const call = helper === undefined ? [] : [instruction(Class.JMP | Jump.call, { imm: helper })];
  const code = [...call, instruction(Class.ALU64 | Alu.mov, { dst: 0, imm: 0 }), instruction(Class.JMP | Jump.exit)];
  const insns = encode(code, { mapDescriptor: () => 0, functionSlot: () => 0, kernelFunction: () => 0 });
  const log = Buffer.alloc(1 << 14);
  const license = Buffer.from('GPL\0');
  const attributes = attribute(attr.programLoad, {
    programType,
    insnCount: insns.length / 8,
    insns: addressOf(insns),
    license: addressOf(license),
    logLevel: 1,
    logSize: log.length,
    logBuffer: addressOf(log),
  });
  const result = answered('PROG_LOAD', tryCommand('PROG_LOAD', attributes));
  if (result.ok) close(result.value);
  return { ok: result.ok, log: log.toString('latin1').replace(/\0.*$/s, '') };
}

export function probeProgramType(type: keyof typeof PROGRAM_PROBES): Feature {
  return { name: `program type ${type}`, available: loadProbe(ProgramType[type]).ok, since: PROGRAM_PROBES[type] };
}

/** Whether XDP programs may call a helper. The probe gives no arguments: what matters is what the verifier complains of. */
export function probeHelper(name: HelperName, program: keyof typeof PROGRAM_PROBES = 'XDP'): Feature {
  const { id, since } = helpers[name];
  const { ok, log } = loadProbe(ProgramType[program], id);
  const unknown = /(invalid|unknown) func|program of this type cannot use helper/.test(log);
  return { name: `helper ${name}`, available: ok || (log !== '' && !unknown), since };
}

/** Whether the kernel turns programs into machine code. */
export function probeJit(): Feature {
  let available: boolean;
  try {
    available = readFileSync('/proc/sys/net/core/bpf_jit_enable', 'utf8').trim() !== '0';
  } catch {
    available = false; // a kernel without the JIT has no such file
  }
  return { name: 'JIT', available, since: '3.18' };
}

export const probedMapTypes = Object.keys(MAP_PROBES) as (keyof typeof MAP_PROBES)[];
export const probedProgramTypes = Object.keys(PROGRAM_PROBES) as (keyof typeof PROGRAM_PROBES)[];

/** Whether the running kernel is at least of this release. */
export function kernelAtLeast(since: string): boolean {
  const numbers = (text: string): number[] => text.split(/[.-]/).slice(0, 2).map(Number);
  const [major = 0, minor = 0] = numbers(release());
  const [wantedMajor = 0, wantedMinor = 0] = numbers(since);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}

/** @throws UnsupportedError where the probe found nothing. */
export function requireFeature(feature: Feature): void {
  if (!feature.available) throw new UnsupportedError(feature.name, feature.since);
}
