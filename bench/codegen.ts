/** Our code against clang's: the same programs, in turn, by test run. Ratios are medians over pairs of runs. */
import { BpfMap, compile, pinToCpu, Program, XdpLink } from '../src/ebpf/index.ts';
import { slots } from '../src/ebpf/asm/instruction.ts';
import type { CompiledCode } from '../src/ebpf/ir/compile.ts';
import { attr, attribute } from '../src/ebpf/sys/attr.ts';
import { command } from '../src/ebpf/sys/bpf.ts';
import { addressOf } from '../src/ebpf/sys/libc.ts';
import { ethernet, frame, ipv4, tcp } from '../src/net/build.ts';
import { client, labDown, LAB_INTERFACE, labUp, namespaceOf, server } from '../lab/topology.ts';
import { clangVersion, compileTwin, loadTwin, twinCode } from './clang/load.ts';
import { type CodegenProgram, codegenPrograms } from './programs.ts';
import { median, round } from './statistics.ts';

/** Where code lies in memory is luck worth some per cent, so both are loaded anew again and again, in alternating order. */
const LOADS = 40;
const PAIRS = 3;
const RUNS = 300_000;
const LAB = 'seawall-bench';

export interface CodegenRow {
  readonly name: string;
  readonly ours: { readonly ns: number; readonly insns: number };
  readonly clang: { readonly ns: number; readonly insns: number };
  readonly nsRatio: number;
  readonly insnRatio: number;
}

const syn = frame([ethernet(), ipv4(), tcp()], new Uint8Array(10));

/**
 * Nanoseconds a run; timed from outside, because the kernel's own figure is rounded to whole ones. The program must be on
 * some interface: otherwise each test run registers it with the XDP dispatcher and waits for RCU, several milliseconds.
 */
function time(fd: number, data: Buffer): number {
  const frameBytes = Buffer.from(data);
  const attributes = attribute(attr.testRun, {
    programFd: fd,
    dataSizeIn: frameBytes.length,
    dataIn: addressOf(frameBytes),
    repeat: RUNS,
  });
  const start = process.hrtime.bigint();
  command('PROG_TEST_RUN', attributes, 'time program');
  return Number(process.hrtime.bigint() - start) / RUNS;
}

/** Instructions as the kernel counts them: a wide load takes two. */
function slotCount({ insns }: CompiledCode): number {
  return insns.reduce((sum, insn) => sum + slots(insn), 0);
}

interface Pair {
  readonly ours: number;
  readonly clang: number;
}

/** Loads both programs and times them in turn. `oursFirst` decides who is loaded first, which decides where the code lies. */
function timePairs({ spec }: CodegenProgram, object: Buffer, maps: readonly BpfMap[], oursFirst: boolean): Pair[] {
  const loadOurs = (): Program => Program.load(spec, { maps });
  const loadTheirs = (): Program => loadTwin(object, maps);
  using first = oursFirst ? loadOurs() : loadTheirs();
  using second = oursFirst ? loadTheirs() : loadOurs();
  using _first = namespaceOf(client, LAB).run(() => XdpLink.attach(first, LAB_INTERFACE));
  using _second = namespaceOf(server, LAB).run(() => XdpLink.attach(second, LAB_INTERFACE));
  time(first.fd, syn);
  time(second.fd, syn);
  return Array.from({ length: PAIRS }, () => {
    const [a, b] = [time(first.fd, syn), time(second.fd, syn)];
    return oursFirst ? { ours: a, clang: b } : { ours: b, clang: a };
  });
}

function measure(program: CodegenProgram, directory: string): CodegenRow {
  const maps = program.maps.map((map) => BpfMap.create(map));
  try {
    const object = compileTwin(`${directory}/${program.twin}.c`);
    const pairs = Array.from({ length: LOADS }, (_, index) => timePairs(program, object, maps, index % 2 === 0)).flat();
    const insns = { ours: slotCount(compile(program.spec)), clang: twinCode(object).length / 8 };
    return {
      name: program.name,
      ours: { ns: round(median(pairs.map((one) => one.ours))), insns: insns.ours },
      clang: { ns: round(median(pairs.map((one) => one.clang))), insns: insns.clang },
      nsRatio: round(median(pairs.map((one) => one.ours / one.clang)), 3),
      insnRatio: round(insns.ours / insns.clang, 3),
    };
  } finally {
    for (const map of maps) map[Symbol.dispose]();
  }
}

/** @throws Error where clang is not installed. */
export function codegen(directory: string): { clang: string; programs: CodegenRow[] } {
  const clang = clangVersion();
  if (clang === undefined) throw new Error('compare with clang: there is no clang; install it (apt-get install clang)');
  pinToCpu(0);
  labUp(LAB, { bare: true });
  try {
    return { clang, programs: codegenPrograms.map((program) => measure(program, directory)) };
  } finally {
    labDown(LAB);
  }
}
