/** Builds a policy's programs and has the verifier check them, without attaching anything. */
import { type Feature, type MapSpec, possibleCpus, Program, verifierVisits } from '../ebpf/index.ts';
import { compile, dump, type ProgramSpec, slots } from '../ebpf/language.ts';
import { protection } from '../dataplane/pipeline.ts';
import { CELLS_PER_LINE } from '../dataplane/state/meter.ts';
import { DEFAULT_STACK, type Form } from '../dataplane/cookie/challenger.ts';
import type { Policy } from '../policy/policy.ts';
import { formFeature, settleChallenger } from '../engine/challenger.ts';
import { settleConnections } from '../engine/connections.ts';
import { hostClock } from '../engine/host-clock.ts';
import { hostNotes } from '../engine/host-notes.ts';
import { linkKindOf } from '../engine/link.ts';
import { flatMaps } from '../dataplane/maps.ts';
import { listCapacity, readLists } from '../engine/lists/lists.ts';

export interface CheckedProgram {
  readonly name: string;
  /** Instructions that are loaded. */
  readonly instructions: number;
  /** Instructions that the verifier walked, every path together; it allows a million. */
  readonly verified: number;
  /** By the file of the data plane that wrote them. */
  readonly stages: readonly Stage[];
}

export interface Stage {
  readonly name: string;
  readonly instructions: number;
  /** How many of the verifier's steps were here; absent unless asked for. */
  readonly verified?: number;
}

export interface Checked {
  readonly programs: readonly CheckedProgram[];
  readonly maps: readonly { readonly name: string; readonly bytes: number }[];
  /** How SYNs are challenged here, and why so. */
  readonly challenge: string;
  /** What the policy says without effect. */
  readonly notes: readonly string[];
  readonly features: readonly Feature[];
  /** How likely it is that a source is judged too hard, by how many others are at their limit. */
  readonly falseLimit: readonly { readonly busySources: number; readonly probability: number }[];
  readonly assembly: string;
}

const FORMS: readonly Form[] = ['assign', 'kernel'];
const BUSY = [1000, 10_000, 100_000, 1_000_000, 10_000_000];

/** The chance that both cells of a source are shared with sources at their limit, of which there are so many. */
export function falseLimitProbability(cells: number, busySources: number): number {
  const perLine = busySources / (cells / CELLS_PER_LINE);
  const half = CELLS_PER_LINE / 2;
  // The number of busy sources in a line is Poisson; each covers one cell of either half.
  return 1 - 2 * Math.exp(-perLine / half) + Math.exp(-perLine * (1 - ((half - 1) / half) ** 2));
}

/** Bytes that a map takes in the kernel, near enough: what BPF_MAP_CREATE sets aside for it. */
function mapBytes({ key, value, maxEntries, perCpu }: MapSpec): number {
  if (!value) return maxEntries; // a ring buffer is as large as it says
  const each = Math.ceil(value.size / 8) * 8;
  return maxEntries * each * (perCpu ? possibleCpus() : 1) + (key && key.size > 4 ? maxEntries * (key.size + 40) : 0);
}

function stagesOf(spec: ProgramSpec, visits: Uint32Array | undefined): Stage[] {
  const stages = new Map<string, { instructions: number; verified: number }>();
  let slot = 0;
  for (const insn of compile(spec).insns) {
    const file = insn.site?.location?.file.split('/').at(-1);
    const name = file?.replace(/\.[jt]s$/, '') ?? 'other';
    const stage = stages.get(name) ?? { instructions: 0, verified: 0 };
    stages.set(name, stage);
    stage.instructions++;
    stage.verified += visits?.[slot] ?? 0;
    slot += slots(insn);
  }
  return [...stages]
    .map(([name, { instructions, verified }]) => ({ name, instructions, ...(visits ? { verified } : {}) }))
    .toSorted((a, b) => b.instructions - a.instructions);
}

function checkProgram(spec: ProgramSpec, visits: boolean): CheckedProgram {
  using program = Program.load(spec);
  const { verifiedInstructions } = program.info;
  const stages = stagesOf(spec, visits ? verifierVisits(spec) : undefined);
  return { name: spec.name, instructions: program.size, verified: verifiedInstructions, stages };
}

/** In the mode `auto` the limit of the service turns challenges on. */
function notesOn({ services }: Policy): string[] {
  return services
    .filter(({ challenge, limits }) => challenge === 'auto' && !limits.service)
    .map(
      ({ name }) =>
        `service ${name}: in the mode "auto" its limit turns challenges on, and it has none; only SYNs over the limit of their source or prefix are challenged`,
    );
}

/** Builds and loads a policy's programs, and lets them go again; `visits` has the verifier count its steps, which takes a while. @throws VerifierError, SyscallError; PolicyError for an interface that cannot be protected. */
export function checkPolicy(policy: Policy, interfaceName: string | undefined, visits = false): Checked {
  const settled = settleChallenger(policy, interfaceName ?? 'lo');
  const challenger = settled.challenger && {
    ...settled.challenger,
    stack: interfaceName ? settled.challenger.stack : DEFAULT_STACK,
  };
  const { program, accept, maps } = protection(policy, {
    clock: hostClock(),
    lists: listCapacity(readLists(policy)),
    link: interfaceName === undefined ? 'ethernet' : linkKindOf(interfaceName),
    challenger,
    connections: settleConnections(policy),
  });
  const specs = accept ? [program, accept] : [program];
  return {
    programs: specs.map((spec) => checkProgram(spec, visits)),
    maps: flatMaps(maps).map((spec) => ({ name: spec.name, bytes: mapBytes(spec) })),
    challenge: settled.note,
    notes: [...notesOn(policy), ...hostNotes(policy)],
    features: FORMS.flatMap((form) => formFeature(form) ?? []),
    falseLimit: BUSY.map((busySources) => ({
      busySources,
      probability: falseLimitProbability(policy.cells, busySources),
    })),
    assembly: specs.map((spec) => dump(spec).bytecode).join('\n\n'),
  };
}
