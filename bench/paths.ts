/**
 * `npm run bench -- paths`: nanoseconds a packet on each path through the program, by test run, beside a program that only returns,
 * the common design in C, and a C program that answers with a cookie and does nothing else. All in turn, medians.
 */
import { readFileSync } from 'node:fs';
import { pinToCpu, Program, XdpLink } from '../src/ebpf/index.ts';
import {
  arrayMap,
  array,
  type Int,
  type ProgramSpec,
  struct,
  u32,
  u64,
  XDP,
  xdp,
  type XdpBuilder,
  type XdpPacket,
} from '../src/ebpf/language.ts';
import { hostClock } from '../src/engine/host-clock.ts';
import { KernelMaps } from '../src/engine/kernel-maps.ts';
import { LiveLists, listCapacity, type SourceLists } from '../src/engine/lists/lists.ts';
import { DEFAULT_STACK, type Form } from '../src/dataplane/cookie/challenger.ts';
import type { Clock } from '../src/dataplane/state/clock.ts';
import { protection, type Rehearsal } from '../src/dataplane/pipeline.ts';
import { ethernet, frame, ipv4, tcp, udp } from '../src/net/build.ts';
import { parseFrame } from '../src/net/parse.ts';
import { LINUX_SYN_OPTIONS } from '../src/net/tcp-options.ts';
import { resolvePolicy } from '../src/policy/policy.ts';
import type { PolicyInput } from '../src/policy/schema.ts';
import { randomAddress } from '../lab/flood-program.ts';
import { client, LAB_INTERFACE, labDown, labUp, namespaceOf } from '../lab/topology.ts';
import { loadCommonDesign } from './clang/load.ts';
import { randomNetworks } from './lists.ts';
import { median, round } from './statistics.ts';
import { timeProgram } from './time-program.ts';

/** Many short rounds: on a machine with neighbours, a round is worth what lies beside it in time. */
const ROUNDS = 13;
/** Where code lies in memory is luck, so all programs are loaded anew. */
const LOADS = 3;
const RUNS = 150_000;
const LAB = 'seawall-bench';

const syn = frame([ethernet(), ipv4(), tcp({ options: LINUX_SYN_OPTIONS })]);

/** As macOS and iOS write them, which no short cut knows: option by option. */
const walked = frame([
  ethernet(),
  ipv4(),
  tcp({
    options: [
      { kind: 'mss', size: 1460 },
      { kind: 'nop' },
      { kind: 'windowScale', shift: 6 },
      { kind: 'nop' },
      { kind: 'nop' },
      { kind: 'timestamps', value: 0x01020304, echo: 0 },
      { kind: 'sackPermitted' },
      { kind: 'end' },
    ],
  }),
]);

const randomSource = ($: XdpBuilder): readonly Int<64>[] => [randomAddress($).u64()];

/** The time leaps on by a second at each look, and is paid for like the real one: every bucket is always full. */
const leap = arrayMap('leap', { value: u64, maxEntries: 1 });
const leapingClock = (host: Clock): Clock => ({
  coarse: ($) => {
    const time = $.at(leap, 0);
    const next = time.value.add(host.coarse($).and(1)).add(1_000_000_000);
    time.ref('value').set(next);
    return next;
  },
  exact: host.exact,
});

const WORDS = Math.floor(syn.length / 4);
const Whole = struct('whole', { words: array(u32, WORDS) });
/** Puts the SYN back where the last run left its answer. */
function restore(_$: XdpBuilder, packet: XdpPacket): void {
  const whole = packet.peek(Whole).orExit(XDP.ABORTED);
  for (let index = 0; index < WORDS; index++) whole.words.ref(index).set(syn.readUInt32LE(index * 4));
}

interface Loaded extends Disposable {
  readonly program: Program;
  readonly data: Buffer;
}

interface LoadedPolicy extends Loaded {
  /** What the kernel accounts for all maps together. */
  readonly mapBytes: () => number;
}

interface Path {
  readonly name: string;
  readonly load: () => Loaded;
}

interface Options {
  readonly policy?: PolicyInput;
  readonly data?: Buffer;
  readonly rehearsal?: Rehearsal;
  readonly clock?: Clock;
  readonly form?: Form;
  readonly lists?: SourceLists;
}

const NO_LISTS: SourceLists = { allow: { v4: [], v6: [] }, deny: { v4: [], v6: [] } };

function ours({ policy: input = {}, data = syn, rehearsal, clock, form, lists = NO_LISTS }: Options): LoadedPolicy {
  const policy = resolvePolicy(input);
  const built = protection(policy, {
    lists: listCapacity(lists),
    ...(rehearsal ? { rehearsal } : {}),
    clock: clock ?? hostClock(),
    ...(form ? { challenger: { form, stack: DEFAULT_STACK, assumeListening: true } } : {}),
  });
  const maps = KernelMaps.create(built.maps, policy);
  const live = new LiveLists(maps, built.maps, lists);
  const program = Program.load(built.program, { maps: maps.all });
  return {
    program,
    data,
    mapBytes: () => maps.all.reduce((sum, { fd }) => sum + lockedBytes(fd), 0),
    [Symbol.dispose]: () => {
      program[Symbol.dispose]();
      live[Symbol.dispose]();
      maps[Symbol.dispose]();
    },
  };
}

const lockedBytes = (fd: number): number =>
  Number(/^memlock:\s+(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${String(fd)}`, 'utf8'))?.[1] ?? 0);

/** The default policy, whose every SYN comes from another address. */
export function challengedRandom(): LoadedPolicy {
  return ours({ form: 'assign', rehearsal: { ...random, prepare: restore } });
}

/** A source that has proved itself, and sends more than its wide limit. */
function verified(): Loaded {
  const loaded = ours({ policy: always, form: 'reset' });
  const { ip, tcp: answer } = parseFrame(loaded.program.testRun({ data: syn }).data);
  const reset = frame([
    ethernet(),
    ipv4({ src: ip!.dst, dst: ip!.src }),
    tcp({ source: answer!.dest, dest: answer!.source, seq: answer!.ack, flags: ['RST'] }),
  ]);
  loaded.program.testRun({ data: reset });
  const { verdict } = loaded.program.testRun({ data: syn });
  if (verdict !== XDP.PASS.code) throw new Error(`verify a source: its SYN got verdict ${String(verdict)}`);
  return loaded;
}

function plain(spec: ProgramSpec): Loaded {
  const program = Program.load(spec);
  return { program, data: syn, [Symbol.dispose]: () => program[Symbol.dispose]() };
}

function twin(source: string): Loaded {
  const { program, maps } = loadCommonDesign(source);
  return {
    program,
    data: syn,
    [Symbol.dispose]: () => {
      program[Symbol.dispose]();
      for (const map of maps) map[Symbol.dispose]();
    },
  };
}

const floor = xdp('floor', () => XDP.PASS);
const off: PolicyInput = { challenge: { mode: 'off' } };
const always: PolicyInput = { challenge: { mode: 'always' } };
const random = { source: randomSource };

const ONE = 'dropped by the limit, one source';
const RANDOM = 'dropped by the limit, random sources';
const COOKIE_TWIN = 'C: a cookie of the kernel and nothing else';

function paths(twins: string): readonly Path[] {
  return [
    { name: 'floor', load: () => plain(floor) },
    {
      name: 'not TCP',
      load: () => ours({ policy: off, data: frame([ethernet(), ipv4(), udp()], new Uint8Array(32)) }),
    },
    {
      name: 'not a SYN',
      load: () => ours({ policy: off, data: frame([ethernet(), ipv4(), tcp({ flags: ['ACK'] })], new Uint8Array(20)) }),
    },
    { name: 'SYN passed, one source', load: () => ours({ policy: off, clock: leapingClock(hostClock()) }) },
    {
      name: 'SYN passed, random sources',
      load: () => ours({ policy: off, clock: leapingClock(hostClock()), rehearsal: random }),
    },
    {
      name: 'SYN passed, options walked',
      load: () => ours({ policy: off, data: walked, clock: leapingClock(hostClock()) }),
    },
    { name: ONE, load: () => ours({ policy: off }) },
    { name: RANDOM, load: () => ours({ policy: off, rehearsal: random }) },
    {
      name: 'dropped by the limit, random sources, 1,000,000 denied networks',
      load: () => ours({ policy: off, rehearsal: random, lists: { ...NO_LISTS, deny: randomNetworks(1_000_000) } }),
    },
    {
      name: 'dropped by sanity',
      load: () =>
        ours({
          policy: off,
          data: frame([ethernet(), ipv4(), tcp({ options: LINUX_SYN_OPTIONS, flags: ['SYN', 'FIN'] })]),
        }),
    },
    {
      name: 'challenged (assign), random sources',
      load: () => ours({ policy: always, form: 'assign', rehearsal: { ...random, prepare: restore } }),
    },
    {
      name: 'challenged (kernel), random sources',
      load: () => ours({ policy: always, form: 'kernel', rehearsal: { ...random, prepare: restoreLonger } }),
    },
    { name: 'verified, one source', load: verified },
    { name: 'C: common design, one source', load: () => twin(`${twins}/common_one.c`) },
    { name: 'C: common design, random sources', load: () => twin(`${twins}/common_random.c`) },
    { name: COOKIE_TWIN, load: () => twin(`${twins}/cookie.c`) },
  ];
}

/** The kernel's form cuts the frame; it is made long again first. */
function restoreLonger($: XdpBuilder, packet: XdpPacket): void {
  const missing = $.u64(syn.length).sub(packet.remaining());
  packet.adjustTail(missing.u32()).orExit(XDP.ABORTED);
  restore($, packet);
}

const time = ({ program, data }: Loaded): number => timeProgram(program.fd, data, RUNS);

export interface PathsResult {
  readonly floorNs: number;
  readonly rows: readonly { readonly path: string; readonly ns: number; readonly vsFloor: number }[];
  readonly commonDesign: { readonly oneNs: number; readonly randomNs: number };
  readonly cookieTwinNs: number;
  /** The targets: the limit under random sources against the common design's, and against our own with one source. */
  readonly ratios: {
    readonly commonRandomToOurs: number;
    readonly commonOneToOurs: number;
    readonly randomToOne: number;
    readonly cookieToTwin: number;
    readonly listNs: number;
  };
}

export function measurePaths(twins: string): PathsResult {
  pinToCpu(0);
  labUp(LAB, { bare: true });
  const all = paths(twins);
  const samples = new Map(all.map(({ name }) => [name, [] as number[]]));
  try {
    for (let load = 0; load < LOADS; load++) {
      const loaded = all.map(({ name, load: make }) => ({ name, it: make() }));
      try {
        for (let round = 0; round < ROUNDS; round++) {
          for (const { name, it } of loaded) {
            // A program that is on no interface is registered anew at each test run, which takes milliseconds.
            using _link = namespaceOf(client, LAB).run(() => XdpLink.attach(it.program, LAB_INTERFACE));
            if (round === 0) time(it);
            samples.get(name)!.push(time(it));
          }
        }
      } finally {
        for (const { it } of loaded) it[Symbol.dispose]();
      }
    }
  } finally {
    labDown(LAB);
  }
  const ns = (name: string): number => round(median(samples.get(name)!));
  const floorNs = ns('floor');
  /** Of what was measured in the same round. */
  const ratio = (above: string, below: string): number => {
    const divisors = samples.get(below)!;
    return round(median(samples.get(above)!.map((sample, index) => sample / divisors[index]!)));
  };
  const commonDesign = { oneNs: ns('C: common design, one source'), randomNs: ns('C: common design, random sources') };
  const cookieTwinNs = ns(COOKIE_TWIN);
  return {
    floorNs,
    rows: all
      .filter(({ name }) => name !== 'floor' && !name.startsWith('C:'))
      .map(({ name }) => ({ path: name, ns: ns(name), vsFloor: round(ns(name) - floorNs) })),
    commonDesign,
    cookieTwinNs,
    ratios: {
      commonRandomToOurs: ratio('C: common design, random sources', RANDOM),
      commonOneToOurs: ratio('C: common design, one source', ONE),
      randomToOne: ratio(RANDOM, ONE),
      cookieToTwin: ratio('challenged (assign), random sources', COOKIE_TWIN),
      listNs: round(ns('dropped by the limit, random sources, 1,000,000 denied networks') - ns(RANDOM)),
    },
  };
}
