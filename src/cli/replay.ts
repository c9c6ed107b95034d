import { statSync } from 'node:fs';
import { Command } from 'commander';
import { FileError, FileLimit, readRegularFile } from '../engine/regular-file.ts';
import { Replay, type Replayed } from '../tools/replay.ts';
import { type CapturedPacket, CaptureError, readCapture } from '../net/capture.ts';
import { quote } from '../net/quote.ts';
import { requireRoot, UsageError } from './exit-status.ts';
import { printRaw } from './output.ts';
import { PacketFile } from './packet-file.ts';
import { addPolicyOptions, policyOf, type PolicyOptions } from './policy-options.ts';

interface ReplayOptions extends PolicyOptions {
  readonly json?: boolean;
  readonly writeDropped?: string;
}

/** Lines are written in pieces of this size: a write a line would take longer than the program. */
const PIECE = 1 << 16;

/** The packets of a capture. @throws UsageError at once for a file that is not a capture, CaptureError later for a damaged one. */
export function openCapture(path: string): Generator<CapturedPacket> {
  try {
    const bytes = readRegularFile(path, FileLimit.CAPTURE);
    namingFile(path, () => readCapture(bytes).next());
    return readCapture(bytes);
  } catch (error) {
    throw error instanceof FileError ? new UsageError(error.message, { cause: error }) : error;
  }
}

/** @throws UsageError with the file's name and the byte, for a capture that is broken. */
export function namingFile<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof CaptureError) throw new UsageError(`${path}: ${error.message}`, { cause: error });
    throw error;
  }
}

/** @throws UsageError where a file would be written over one that is read. */
function refuseOverwriting(written: string, read: readonly (string | undefined)[]): void {
  const identity = (path: string): string | undefined => {
    const stat = statSync(path, { throwIfNoEntry: false });
    return stat && `${String(stat.dev)}:${String(stat.ino)}`;
  };
  const target = identity(written);
  const lost = read.find((path) => path !== undefined && target !== undefined && identity(path) === target);
  if (lost !== undefined)
    throw new UsageError(`--write-dropped: ${quote(written)} is the file that is read; name another one`);
}

function jsonLine({ n, time, verdict, reason, service, tokens, reply }: Replayed): string {
  return JSON.stringify({
    n,
    time: `${String(time / 1_000_000_000n)}.${String(time % 1_000_000_000n).padStart(9, '0')}`,
    verdict,
    reason,
    ...(service === undefined ? {} : { service }),
    ...(tokens ? { tokens } : {}),
    ...(reply ? { reply: reply.toString('hex') } : {}),
  });
}

function textLine({ n, verdict, reason, service, tokens }: Replayed): string {
  const bucket = tokens ? ` tokens ${String(tokens.before)} > ${String(tokens.after)}` : '';
  return `${String(n)} ${verdict.toUpperCase()} (${reason})${service === undefined ? '' : ` service ${service}`}${bucket}`;
}

function replay(path: string, options: ReplayOptions): void {
  requireRoot('replay');
  const { policy, use } = policyOf(options);
  const packets = openCapture(path);
  if (options.writeDropped !== undefined) refuseOverwriting(options.writeDropped, [path, options.config]);
  using replayed = use(() => new Replay(policy));
  using dropped = options.writeDropped === undefined ? undefined : new PacketFile(options.writeDropped);
  const totals: Record<string, Record<string, number>> = {};
  let piece = '';
  try {
    namingFile(path, () => {
      for (const packet of packets) {
        const result = replayed.run(packet);
        const group = (totals[result.verdict] ??= {});
        group[result.reason] = (group[result.reason] ?? 0) + 1;
        if (result.verdict === 'drop') dropped?.add(packet);
        piece += `${options.json ? jsonLine(result) : textLine(result)}\n`;
        if (piece.length < PIECE) continue;
        printRaw(piece);
        piece = '';
      }
    });
  } finally {
    printRaw(piece);
  }
  const text = Object.entries(totals).map(([verdict, byReason]) => {
    const list = Object.entries(byReason).map(([reason, count]) => `${reason} ${count.toLocaleString('en')}`);
    return `${verdict}: ${list.join(', ')}`;
  });
  printRaw(options.json ? `${JSON.stringify({ totals })}\n` : `${text.join('\n')}\n`);
}

export function replayCommand(): Command {
  const command = new Command('replay')
    .description('run every packet of a capture through the program, by its own timing; touches no traffic')
    .argument('<capture>', 'a pcap or pcapng file of Ethernet frames');
  return addPolicyOptions(command)
    .option('--json', 'print one JSON object a line, totals last')
    .option('--write-dropped <file>', 'write what would be dropped to a pcapng file')
    .addHelpText('after', '\nEvery port counts as listening, because a capture does not show the host.')
    .action(replay);
}
