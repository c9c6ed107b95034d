/** Our code against clang's: the same programs, in turn, by test run. Ratios are medians over rounds, each of one pair. */
import { BpfMap, pinToCpu, Program, XdpLink } from '../src/ebpf/index.ts';
import { attr, attribute } from '../src/ebpf/sys/attr.ts';
import { command } from '../src/ebpf/sys/bpf.ts';
import { addressOf } from '../src/ebpf/sys/libc.ts';
import { ethernet, frame, ipv4, tcp } from '../src/net/build.ts';
import { client, labDown, LAB_INTERFACE, labUp, namespaceOf, server } from '../lab/topology.ts';
import { clangVersion, loadTwin } from './clang/load.ts';
import { type CodegenProgram, codegenPrograms } from './programs.ts';
import { median, round } from './statistics.ts';

const ROUNDS = 15;
const RUNS = 1_000_000;
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

function measure({ name, twin, spec, maps }: CodegenProgram, directory: string): CodegenRow {
  const shared = maps.map((map) => BpfMap.create(map));
  const close: Disposable[] = [];
  try {
    using ours = Program.load(spec, { maps: shared });
    const theirs = loadTwin(`${directory}/${twin}.c`, shared);
    close.push(theirs.program);
    using _ours = namespaceOf(client, LAB).run(() => XdpLink.attach(ours, LAB_INTERFACE));
    using _theirs = namespaceOf(server, LAB).run(() => XdpLink.attach(theirs.program, LAB_INTERFACE));
    const rounds: { ours: number; clang: number }[] = [];
    for (let index = 0; index <= ROUNDS; index++) {
      // Who comes first changes, so that neither always finds the caches as the other left them.
      const pair = index % 2 === 0 ? { ours: time(ours.fd, syn), clang: time(theirs.program.fd, syn) } : undefined;
      const reversed = pair ?? { clang: time(theirs.program.fd, syn), ours: time(ours.fd, syn) };
      if (index > 0) rounds.push(reversed); // the first warms up
    }
    const insns = { ours: ours.size, clang: theirs.insns };
    return {
      name,
      ours: { ns: round(median(rounds.map((one) => one.ours))), insns: insns.ours },
      clang: { ns: round(median(rounds.map((one) => one.clang))), insns: insns.clang },
      nsRatio: round(median(rounds.map((one) => one.ours / one.clang)), 3),
      insnRatio: round(insns.ours / insns.clang, 3),
    };
  } finally {
    for (const one of close) one[Symbol.dispose]();
    for (const map of shared) map[Symbol.dispose]();
  }
}

/** @throws Error where clang is not installed. */
export function codegen(directory: string): { clang: string; programs: CodegenRow[] } {
  const clang = clangVersion();
  if (clang === undefined) throw new Error('compare with clang: there is no clang; install it (apt-get install clang)');
  pinToCpu(0);
  labUp(LAB);
  try {
    return { clang, programs: codegenPrograms.map((program) => measure(program, directory)) };
  } finally {
    labDown(LAB);
  }
}
