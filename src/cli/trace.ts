import { setImmediate as nextTurn } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { SyscallError, type XdpMode } from '../ebpf/index.ts';
import { protectingProcess } from '../engine/instance.ts';
import { pinnedInterfaces } from '../engine/pin-key.ts';
import { Trace, type TracedFrame, type TraceOptions } from '../tools/trace.ts';
import { flagNames } from '../net/headers.ts';
import { parseFrame } from '../net/parse.ts';
import { parseCount } from '../policy/units.ts';
import { checkInterface } from './interface-option.ts';
import { requireRoot } from './exit-status.ts';
import { LiveOutput } from './live-output.ts';
import { complain, type OutputError } from './output.ts';
import { PacketFile } from './packet-file.ts';
import { UntilStopped } from './until-stopped.ts';

interface TraceCommandOptions {
  readonly interface: string;
  readonly syn?: boolean;
  readonly count?: string;
  readonly write?: string;
  readonly mode: XdpMode | 'auto';
  readonly json?: boolean;
}

/** Lines that are printed before it is asked whether they are read. */
const LINES_AT_ONCE = 256;

/** One TCP segment, as it is printed. */
interface SegmentLine {
  readonly time: string;
  readonly src: string;
  readonly srcPort: number;
  readonly dst: string;
  readonly dstPort: number;
  readonly seq: number;
  readonly ack: number;
  readonly flags: readonly string[];
  readonly window: number;
  readonly payloadLength: number;
}

function segmentLine({ time, data }: TracedFrame): SegmentLine | undefined {
  const { ip, tcp, payloadLength } = parseFrame(data);
  if (!ip || !tcp) return undefined;
  const micros = String(time / 1000n);
  const clock = `${new Date(Number(time / 1_000_000n)).toISOString().slice(0, -4)}${micros.slice(-6, -3)}${micros.slice(-3)}Z`;
  return {
    time: clock,
    src: ip.src,
    srcPort: tcp.source,
    dst: ip.dst,
    dstPort: tcp.dest,
    seq: tcp.seq,
    ack: tcp.ack,
    flags: flagNames(tcp.flags),
    window: tcp.window,
    payloadLength,
  };
}

function endpoint(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${String(port)}` : `${address}:${String(port)}`;
}

function text(line: SegmentLine): string {
  const way = `${endpoint(line.src, line.srcPort)} > ${endpoint(line.dst, line.dstPort)}`;
  const flags = line.flags.join(',') || 'none';
  return `${line.time.slice(11, -1)} ${way} ${flags} seq ${String(line.seq)} ack ${String(line.ack)} win ${String(line.window)} len ${String(line.payloadLength)}`;
}

/** What makes place for a trace on an interface, if anything does: the lab's own program. */
export type InPlaceOf = (interfaceName: string) => TraceOptions['inPlaceOf'];

/** Starts a trace. @throws SyscallError that says how to make place, where a killed run left its program. */
function start({ interface: name, syn, mode }: TraceCommandOptions, inPlaceOf: InPlaceOf): Trace {
  try {
    return new Trace(name, { synOnly: syn ?? false, mode, inPlaceOf: inPlaceOf(name) });
  } catch (error) {
    const occupied = error instanceof SyscallError && (error.errno === 'EBUSY' || error.errno === 'EEXIST');
    if (!occupied || !pinnedInterfaces().includes(name)) throw error;
    throw new SyscallError(
      'trace',
      'EBUSY',
      `trace ${name}: a killed run left its program there, and an interface has one XDP program; seawall detach -i ${name} takes it off`,
      { cause: error },
    );
  }
}

async function trace(options: TraceCommandOptions, inPlaceOf: InPlaceOf): Promise<void> {
  checkInterface(options.interface);
  requireRoot('trace');
  const pid = protectingProcess(options.interface);
  if (pid !== undefined)
    throw new SyscallError(
      'trace',
      'EBUSY',
      `trace ${options.interface}: process ${pid} protects it, and an interface has one XDP program; seawall run --log verdicts prints each SYN`,
    );
  const limit =
    options.count === undefined ? Infinity : parseCount(options.count, '--count', 1, Number.MAX_SAFE_INTEGER);
  using tracer = start(options, inPlaceOf);
  using file = options.write === undefined ? undefined : new PacketFile(options.write);
  let stop!: () => void;
  const stopped = new Promise<void>((resolve) => {
    stop = resolve;
  });
  using _signals = new UntilStopped(() => {
    stop();
    tracer[Symbol.dispose]();
  });
  const why = tracer.fallback === undefined ? '' : ` (${tracer.fallback})`;
  complain(`tracing ${options.interface} in ${tracer.mode} mode${why}`);
  let failure: OutputError | undefined;
  let seen = 0;
  {
    await using output = new LiveOutput(1, {
      failed: (error) => {
        failure = error;
        tracer[Symbol.dispose]();
      },
      leftOut: complain,
    });
    for await (const frame of tracer.frames()) {
      const line = segmentLine(frame);
      if (!line) continue;
      output.print(options.json ? JSON.stringify(line) : text(line));
      file?.add(frame);
      if (++seen >= limit) break;
      // Without a reader, segments wait in the kernel's ring, and signals are handled.
      if (seen % LINES_AT_ONCE === 0) {
        await Promise.race([output.written(), stopped]);
        await nextTurn();
      }
    }
  }
  if (failure) throw failure;
  const { lost } = tracer;
  complain(`${String(seen)} segments${lost > 0n ? `, ${String(lost)} more came too fast to be printed` : ''}`);
}

export function traceCommand(inPlaceOf: InPlaceOf = () => undefined): Command {
  return new Command('trace')
    .description('print each TCP segment that an interface receives, before the kernel sees it; drops nothing')
    .requiredOption('-i, --interface <name>', 'the interface to watch')
    .option('--syn', 'only segments with SYN set')
    .option('--count <number>', 'end after so many segments')
    .option('-w, --write <file>', 'write the segments to a pcapng file as well')
    .addOption(
      new Option('--mode <mode>', 'where the program runs').choices(['auto', 'native', 'generic']).default('auto'),
    )
    .option('--json', 'print one JSON object a line')
    .addHelpText(
      'after',
      '\nOne line a segment: time, source, destination, flags, sequence and acknowledgement number, window, payload length.',
    )
    .action((options: TraceCommandOptions) => trace(options, inPlaceOf));
}
