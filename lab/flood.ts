import { UsageError } from '../src/cli/exit-status.ts';
import { PolicyError } from '../src/policy/policy-error.ts';
import { interfaceIndex, Program, readInterface, XdpLink } from '../src/ebpf/index.ts';
import {
  floodFrame,
  type FloodKind,
  floodProgram,
  SPARE,
  type FloodSources,
  floodState,
  MAX_SOURCES,
  passThrough,
} from './flood-program.ts';
import { client, LAB_INTERFACE, namespaceOf, server } from './topology.ts';

export interface FloodOptions {
  /** Segments a second at most. */
  readonly rate: number;
  readonly sources: FloodSources;
  readonly kind?: FloodKind;
  readonly seconds: number;
  /** The lab's server; anything else is refused. */
  readonly target?: string;
  readonly port?: number;
  readonly lab?: string;
}

export interface FloodReport {
  readonly sent: number;
  /** Packets that the other side's interface counted meanwhile, everybody's. */
  readonly received: number;
  readonly seconds: number;
  readonly pps: number;
}

/** Frames that the kernel runs through at once; the time is looked at between two chunks. */
const CHUNK = 32_768;
const BATCH = 64;
/** The longest run, in seconds. */
const MAX_SECONDS = 3600;

/** Reads `one`, `random` or a number. */
export function parseSources(text: string): FloodSources {
  if (text === 'one' || text === 'random') return text;
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= MAX_SOURCES) return count;
  throw new PolicyError('--sources', `"${text}" is neither one, random, nor a number from 1 to ${String(MAX_SOURCES)}`);
}

/** `struct xdp_md` for a frame on an interface. */
function liveContext(length: number, index: number): Buffer {
  const context = Buffer.alloc(24);
  context.writeUInt32LE(length, 4);
  context.writeUInt32LE(index, 12);
  return context;
}

/** Only the lab's server may be flooded. */
function checkTarget(target: string): void {
  if (target === server.ipv4 || target === server.ipv6) return;
  throw new PolicyError(
    '--target',
    `flood ${target}: only the lab's server, ${server.ipv4} or ${server.ipv6}, can be the target`,
  );
}

function runFor(program: Program, frame: Buffer, context: Buffer, seconds: number): number {
  const state = program.map(floodState);
  const padded = Buffer.concat([frame, Buffer.alloc(SPARE)]);
  const nanoseconds = BigInt(Math.round(seconds * 1e9));
  // hrtime and the program's clock are both CLOCK_MONOTONIC.
  const start = process.hrtime.bigint();
  state.update(0, { start, deadline: start + nanoseconds, sent: 0n, next: 0n });
  while (process.hrtime.bigint() < start + nanoseconds) {
    program.testRun({ data: padded, context, repeat: CHUNK, liveFrames: true, batchSize: BATCH });
  }
  return Number(state.lookup(0)!.sent);
}

/** A veth interface takes frames of XDP_TX only where it runs a program itself; this gives it one unless it does. */
class Receiver implements Disposable {
  readonly #program: Program | undefined;
  readonly #link: XdpLink | undefined;

  constructor() {
    const { xdp } = readInterface(interfaceIndex(LAB_INTERFACE)!);
    if (xdp.native !== undefined) return;
    this.#program = Program.load(passThrough);
    this.#link = XdpLink.attach(this.#program, LAB_INTERFACE, { mode: 'native' });
  }

  get packets(): bigint {
    return readInterface(interfaceIndex(LAB_INTERFACE)!).receivedPackets;
  }

  [Symbol.dispose](): void {
    this.#link?.[Symbol.dispose]();
    this.#program?.[Symbol.dispose]();
  }
}

/**
 * Floods a host of the lab from the client's namespace, and reports what really left. Blocks this thread; ends by itself.
 */
export function flood({
  rate,
  sources,
  kind,
  seconds,
  target = server.ipv4,
  port = 80,
  lab,
}: FloodOptions): FloodReport {
  checkTarget(target);
  if (!(seconds > 0 && seconds <= MAX_SECONDS))
    throw new PolicyError(
      '--seconds',
      `flood for ${String(seconds)} seconds: from 0 to ${String(MAX_SECONDS)} is allowed`,
    );
  if (!(rate >= 1 && rate <= 100_000_000))
    throw new PolicyError('--rate', `flood at ${String(rate)}/s: from 1 to 100,000,000 is allowed`);
  const netns = namespaceOf(client, lab);
  if (!netns.exists) throw new UsageError('lab flood: the lab is not up; run seawall lab up');
  const template = floodFrame({ mac: server.mac, address: target, port }, client.mac, kind);
  const there = namespaceOf(server, lab);
  using receiver = there.run(() => new Receiver());
  const before = there.run(() => receiver.packets);
  const sent = netns.run(() => {
    using program = Program.load(floodProgram(template, sources, rate));
    // A program that is on no interface is registered with the XDP dispatcher at each test run, which waits for RCU: pauses of
    // milliseconds, and a burst after each. On the loopback, where nothing comes, it is registered once.
    using _registered = XdpLink.attach(program, 'lo', { mode: 'generic' });
    return runFor(program, template, liveContext(template.length + SPARE, interfaceIndex(LAB_INTERFACE)!), seconds);
  });
  const received = Number(there.run(() => receiver.packets) - before);
  return { sent, received, seconds, pps: Math.round(sent / seconds) };
}
