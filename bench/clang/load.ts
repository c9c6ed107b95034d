/** Compiles a C twin with clang and loads it: just enough of ELF to find its code and put map descriptors where they belong. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BpfMap, LICENSE, lruHash, Program, u32, u64 } from '../../src/ebpf/index.ts';
import { attr, attribute, objectName } from '../../src/ebpf/sys/attr.ts';
import { objectInfo, openCommand } from '../../src/ebpf/sys/bpf.ts';
import { addressOf } from '../../src/ebpf/sys/libc.ts';
import { ProgramType } from '../../src/ebpf/uapi/constants.gen.ts';

const LD_IMM64 = 0x18;
const PSEUDO_MAP_FD = 1;
const SECTION_HEADER = 64;
const SYMBOL = 24;
const RELOCATION = 16;

interface Section {
  readonly name: string;
  readonly bytes: Buffer;
}

/** The sections of a 64-bit little-endian object file (System V ABI, chapter 4). */
function sections(elf: Buffer): Section[] {
  const start = Number(elf.readBigUInt64LE(40));
  const count = elf.readUInt16LE(60);
  const headers = Array.from({ length: count }, (_, index) => elf.subarray(start + index * SECTION_HEADER));
  const bytesOf = (header: Buffer): Buffer => {
    const offset = Number(header.readBigUInt64LE(24));
    return elf.subarray(offset, offset + Number(header.readBigUInt64LE(32)));
  };
  const names = bytesOf(headers[elf.readUInt16LE(62)]!);
  return headers.map((header) => ({ name: text(names, header.readUInt32LE(0)), bytes: bytesOf(header) }));
}

function text(table: Buffer, at: number): string {
  return table.toString('latin1', at, table.indexOf(0, at));
}

/** Whether clang can compile for BPF. */
export function clangVersion(): string | undefined {
  try {
    return execFileSync('clang', ['--version'], { encoding: 'utf8' }).split('\n')[0];
  } catch {
    return undefined;
  }
}

/** Compiles a C source to an object file. */
export function compileTwin(source: string): Buffer {
  const directory = mkdtempSync(join(tmpdir(), 'seawall-bench-'));
  try {
    const object = join(directory, 'twin.o');
    execFileSync('clang', ['-O2', '-mcpu=v3', '--target=bpf', '-c', source, '-o', object], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    return readFileSync(object);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function section(object: Buffer, name: string): Buffer {
  return sections(object).find((one) => one.name === name)?.bytes ?? Buffer.alloc(0);
}

/** The instructions of the program, maps still unresolved. */
export function twinCode(object: Buffer): Buffer {
  return Buffer.from(section(object, 'xdp'));
}

/** Loads the program in the section "xdp", with these maps under their names. */
export function loadTwin(object: Buffer, maps: readonly Pick<BpfMap, 'fd' | 'spec'>[]): Program {
  const code = twinCode(object);
  const [symbols, names, relocations] = [
    section(object, '.symtab'),
    section(object, '.strtab'),
    section(object, '.relxdp'),
  ];
  for (let at = 0; at < relocations.length; at += RELOCATION) {
    const where = Number(relocations.readBigUInt64LE(at));
    const symbol = relocations.readUInt32LE(at + 12);
    const name = text(names, symbols.readUInt32LE(symbol * SYMBOL));
    const map = maps.find(({ spec }) => spec.name === name);
    if (!map || code[where] !== LD_IMM64) throw new Error(`load twin: cannot resolve ${name}`);
    code[where + 1] = (code[where + 1]! & 0x0f) | (PSEUDO_MAP_FD << 4);
    code.writeInt32LE(map.fd, where + 4);
  }
  const license = Buffer.from(`${LICENSE}\0`);
  const attributes = attribute(attr.programLoad, {
    programType: ProgramType.XDP,
    insnCount: code.length / 8,
    insns: addressOf(code),
    license: addressOf(license),
    name: objectName('twin'),
  });
  using loaded = openCommand('PROG_LOAD', attributes, 'load twin');
  return Program.openById(objectInfo(loaded.fd, 8, 'twin').readUInt32LE(4));
}

const ENTRIES = 1 << 20;

/** Compiles and loads a twin with the maps of the common design; the caller disposes of both. */
export function loadCommonDesign(source: string): { readonly program: Program; readonly maps: readonly BpfMap[] } {
  const maps = [
    BpfMap.create(lruHash('tokens', { key: u32, value: u32, maxEntries: ENTRIES })),
    BpfMap.create(lruHash('refills', { key: u32, value: u64, maxEntries: ENTRIES })),
  ];
  return { program: loadTwin(compileTwin(source), maps), maps };
}
