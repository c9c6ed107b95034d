/** The whole story in one run: a server, its clients, a flood; first unprotected, then protected, all else being equal. */
import { enableRunStatistics, Program, XdpLink } from '../src/ebpf/index.ts';
import { protect } from '../src/index.ts';
import type { ChallengeForm } from '../src/policy/policy.ts';
import type { Attempt } from './clients.ts';
import type { FloodOptions, FloodReport } from './flood.ts';
import { type FloodSources, passThrough } from './flood-program.ts';
import { cpuTimes, RECEIVING_CPU, SENDING_CPU, threadReceive } from './placement.ts';
import { client, LAB_INTERFACE, labDown, labUp, namespaceOf, POOL, server } from './topology.ts';
import { Workers } from './workers.ts';

export interface DemoOptions {
  readonly seconds: number;
  readonly rate: number;
  readonly sources: FloodSources;
  /** How the protection challenges; its default where this is left out. */
  readonly form?: ChallengeForm | undefined;
  /** Is given progress messages, a line at a time. */
  readonly progress: (line: string) => void;
  /** Ends the demo early, with everything removed. */
  readonly signal?: AbortSignal;
}

export interface LegitResult {
  readonly attempted: number;
  readonly succeeded: number;
  readonly successRate: number;
  readonly connectMsP50: number;
  readonly connectMsP99: number;
}

/** The clients of one phase, together and by the core they ran on, and how busy the receiving core was. */
interface Phase {
  /** A pool of addresses, each far below any limit. */
  readonly legit: LegitResult;
  /** An office behind one address. */
  readonly office: LegitResult;
  /** The success of the placement that did worse; the two differ where the receiving core is overloaded. */
  readonly worsePlacement: number;
  readonly receivingCpuBusy: number;
  readonly floodPps: number;
}

export interface DemoResult {
  readonly flood: { readonly offeredPps: number; readonly sources: FloodSources; readonly seconds: number };
  readonly tcpSyncookies: number;
  /** The same clients without a flood. */
  readonly quiet: Phase;
  readonly unprotected: Phase;
  readonly protected: Phase & {
    readonly verdicts: { readonly pass: number; readonly drop: number; readonly answer: number };
    readonly challenge: string;
    readonly nsPerPacket: number;
    readonly mode: string;
  };
}

const LAB = 'seawall-demo';
const NEW_CONNECTIONS = 50;
/** The flood begins before the first client and ends after the last. */
const LEAD_MS = 500;

function percentile(sorted: readonly number[], share: number): number {
  const index = Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1);
  return Number((sorted[Math.max(0, index)] ?? NaN).toFixed(2));
}

function summarize(attempts: readonly Attempt[]): LegitResult {
  const succeeded = attempts.filter((attempt) => attempt.succeeded).length;
  const times = attempts
    .flatMap(({ connectMs }) => (connectMs === undefined ? [] : [connectMs]))
    .toSorted((a, b) => a - b);
  return {
    attempted: attempts.length,
    succeeded,
    successRate: attempts.length === 0 ? 0 : Number((succeeded / attempts.length).toFixed(4)),
    connectMsP50: percentile(times, 0.5),
    connectMsP99: percentile(times, 0.99),
  };
}

/** The clients of one phase, half of each kind on each core, while the flood goes on. */
async function runClients(workers: Workers, { seconds, signal }: DemoOptions): Promise<Omit<Phase, 'floodPps'>> {
  await new Promise((resolve) => setTimeout(resolve, LEAD_MS));
  signal?.throwIfAborted();
  const inside = namespaceOf(client, LAB);
  const before = cpuTimes(RECEIVING_CPU);
  const placements = [...new Set([SENDING_CPU, RECEIVING_CPU])];
  const run = async (cpu: number, first: number): Promise<Attempt[]> => {
    const args = [`http://${server.ipv4}/`, NEW_CONNECTIONS / placements.length, seconds, first].map(String);
    return await workers.message<Attempt[]>(workers.start(inside, './clients.js', args, cpu), 'clients');
  };
  const [pool, office] = await Promise.all([
    Promise.all(placements.map((cpu, index) => run(cpu, (index * POOL.size) / placements.length))),
    Promise.all(placements.map((cpu) => run(cpu, -1))),
  ]);
  const after = cpuTimes(RECEIVING_CPU);
  const byPlacement = placements.map((_, index) => [...pool[index]!, ...office[index]!]);
  return {
    legit: summarize(pool.flat()),
    office: summarize(office.flat()),
    worsePlacement: Math.min(...byPlacement.map((attempts) => summarize(attempts).successRate)),
    receivingCpuBusy: Number(((after.busy - before.busy) / Math.max(1, after.total - before.total)).toFixed(2)),
  };
}

async function runPhase(workers: Workers, options: DemoOptions): Promise<Phase> {
  const { seconds, rate, sources } = options;
  const floodOptions: FloodOptions = { rate, sources, seconds: seconds + (2 * LEAD_MS) / 1000, lab: LAB };
  const flooder = workers.start(namespaceOf(client, LAB), './flooder.js', [JSON.stringify(floodOptions)], SENDING_CPU);
  const [flood, clients] = await Promise.all([
    workers.message<FloodReport>(flooder, 'flood'),
    runClients(workers, options),
  ]);
  return { ...clients, floodPps: flood.pps };
}

/** Runs both phases in a lab of its own, which is always removed again. */
export async function demo(options: DemoOptions): Promise<DemoResult> {
  const { progress, seconds, rate, sources, signal } = options;
  using workers = new Workers();
  const stop = (): void => {
    workers[Symbol.dispose]();
  };
  signal?.addEventListener('abort', stop);
  try {
    progress('building the lab: a client and a server, joined by a veth pair');
    labDown(LAB);
    labUp(LAB);
    const behind = namespaceOf(server, LAB);
    const http = workers.start(behind, './http-server.js', ['80'], RECEIVING_CPU);
    await workers.message(http, 'HTTP server');
    const describe = `${String(seconds)} s of ${rate.toLocaleString('en')} SYNs/s, sources: ${String(sources)}`;

    const each = `${String(NEW_CONNECTIONS)} connections a second from a pool of addresses, as many from one address`;
    progress(`quiet: no flood, ${each}`);
    const quiet = { ...(await runClients(workers, options)), floodPps: 0 };
    signal?.throwIfAborted();

    progress(`unprotected: ${describe}`);
    let unprotected: Phase;
    {
      using program = Program.load(passThrough);
      using _link = behind.run(() => XdpLink.attach(program, LAB_INTERFACE, { mode: 'native' }));
      threadReceive(behind);
      unprotected = await runPhase(workers, options);
    }
    signal?.throwIfAborted();

    progress(`protected: the same again behind seawall`);
    const { form } = options;
    using protection = behind.run(() =>
      protect(LAB_INTERFACE, form ? { challenge: { form, 'set-sysctls': true } } : {}),
    );
    threadReceive(behind);
    const phase = await runPhase(workers, options);
    const { pass, drop, answer } = protection.stats();
    const { mode, challengeNote } = protection;
    const nsPerPacket = await measureProgram(protection, workers, options);
    return {
      flood: { offeredPps: Math.round((unprotected.floodPps + phase.floodPps) / 2), sources, seconds },
      tcpSyncookies: Number(behind.readSysctl('net.ipv4.tcp_syncookies')),
      quiet,
      unprotected,
      protected: {
        ...phase,
        verdicts: { pass: Number(pass), drop: Number(drop), answer: Number(answer) },
        challenge: challengeNote,
        nsPerPacket,
        mode,
      },
    };
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', stop);
    stop();
    labDown(LAB);
  }
}

/** The program's own time a packet, in a second of flood with the kernel's run statistics, which cost some 25 ns themselves. */
async function measureProgram(
  protection: ReturnType<typeof protect>,
  workers: Workers,
  { rate, sources }: DemoOptions,
): Promise<number> {
  using _statistics = enableRunStatistics();
  const options: FloodOptions = { rate, sources, seconds: 1, lab: LAB };
  const flooder = workers.start(namespaceOf(client, LAB), './flooder.js', [JSON.stringify(options)], SENDING_CPU);
  await workers.message(flooder, 'flood');
  return Math.round(protection.nanosecondsPerFrame ?? NaN);
}
