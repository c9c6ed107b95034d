/** Our code against clang's: the same programs, in turn, by test run. Ratios are medians over pairs of runs. */
import { BpfMap, compile, pinToCpu, Program, XdpLink } from '../src/ebpf/index.ts';
import { slots } from '../src/ebpf/asm/instruction.ts';
import type { CompiledCode } from '../src/ebpf/ir/compile.ts';
import { ethernet, frame, ipv4, tcp } from '../src/net/build.ts';
import { client, labDown, LAB_INTERFACE, labUp, namespaceOf, server } from '../lab/topology.ts';
import { clangVersion, compileTwin, loadTwin, twinCode } from './clang/load.ts';
import { type CodegenProgram, codegenPrograms } from './programs.ts';
import { median, round } from './statistics.ts';
import { timeProgram } from './time-program.ts';

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
  timeProgram(first.fd, syn, RUNS);
  timeProgram(second.fd, syn, RUNS);
  return Array.from({ length: PAIRS }, () => {
    const [a, b] = [timeProgram(first.fd, syn, RUNS), timeProgram(second.fd, syn, RUNS)];
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
