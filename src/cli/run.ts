import { Command, Option } from 'commander';
import { SyscallError, type XdpMode } from '../ebpf/index.ts';
import { type ProtectedInterface, protect, type Stats } from '../daemon/protect.ts';
import type { SynReport } from '../daemon/syn-report.ts';
import type { Limits } from '../policy/limits.ts';
import { parseCount, parsePorts } from '../policy/rate.ts';
import { UntilStopped } from './until-stopped.ts';

interface RunOptions {
  readonly interface: string;
  readonly rate: string;
  readonly burst: string;
  readonly maxSources: string;
  readonly port?: string;
  readonly mode: XdpMode | 'auto';
  readonly dryRun?: boolean;
  readonly log: 'summary' | 'verdicts';
  readonly json?: boolean;
}

const SUMMARY_EVERY_MS = 10_000;
/** How often it is looked whether the interface is still there. */
const CHECK_EVERY_MS = 1000;

function limitsOf(options: RunOptions): Limits {
  return {
    rate: options.rate,
    burst: parseCount(options.burst, '--burst', 1, 1_000_000),
    maxSources: parseCount(options.maxSources, '--max-sources', 1, 16_777_216),
    ports: options.port === undefined ? [] : parsePorts(options.port, '--port'),
    dryRun: options.dryRun ?? false,
  };
}

/** Numbers in JSON: counters fit a double for the next two hundred years at a million a second. */
const plain = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? Number(value) : value);

function print(options: RunOptions, kind: string, fields: object, text: string): void {
  console.log(options.json ? JSON.stringify({ kind, ...fields }, plain) : text);
}

function describe(protection: ProtectedInterface): string {
  const { limits, mode, fallback, programSize } = protection;
  const ports = limits.ports.length === 0 ? 'every TCP port' : `TCP port ${limits.ports.join(', ')}`;
  const lines = [
    `protecting ${protection.interface} (${mode} mode, ${String(programSize)} instructions): ${ports}`,
    `each source: ${limits.rate}, bucket of ${String(limits.burst)}; ${limits.maxSources.toLocaleString('en')} sources remembered`,
  ];
  if (fallback !== undefined) lines.push(`not native: ${fallback}`);
  if (limits.dryRun) lines.push('dry run: nothing is dropped');
  return lines.join('\n');
}

export function verdictLine(
  { source, sourcePort, destination, destinationPort, tokensLeft, tokensRefilled, verdict, reason }: SynReport,
  burst: number,
): string {
  const way = `${source}:${String(sourcePort)} > ${destination}:${String(destinationPort)}`;
  return `SYN ${way} tokens ${String(tokensLeft)}/${String(burst)} refilled ${String(tokensRefilled)} ${verdict.toUpperCase()} (${reason})`;
}

function totals(stats: Stats, dryRun: boolean): string {
  const reasons = Object.entries(stats.reasons).filter(([, count]) => count > 0n);
  const list = reasons.map(([name, count]) => `${name} ${count.toLocaleString('en')}`).join(', ');
  const would = dryRun ? `, would have dropped ${stats.wouldDrop.toLocaleString('en')}` : '';
  const lost =
    stats.lostEvents > 0n ? `; ${stats.lostEvents.toLocaleString('en')} events were not printed in time` : '';
  return `passed ${stats.pass.toLocaleString('en')}, dropped ${stats.drop.toLocaleString('en')}${would}${list ? ` (${list})` : ''}${lost}`;
}

async function printVerdicts(protection: ProtectedInterface, options: RunOptions): Promise<void> {
  for await (const report of protection.events())
    print(options, 'syn', report, verdictLine(report, protection.limits.burst));
}

/** Prints until a signal comes or the interface goes. */
async function watch(protection: ProtectedInterface, options: RunOptions): Promise<'stopped' | 'gone'> {
  let end!: (how: 'stopped' | 'gone') => void;
  const ended = new Promise<'stopped' | 'gone'>((resolve) => {
    end = resolve;
  });
  using _signals = new UntilStopped(() => {
    end('stopped');
  });
  const check = setInterval(() => {
    if (!protection.attached) end('gone');
  }, CHECK_EVERY_MS);
  const summary = setInterval(() => {
    if (options.log !== 'summary') return;
    const stats = protection.stats();
    print(options, 'summary', stats, totals(stats, protection.limits.dryRun));
  }, SUMMARY_EVERY_MS);
  try {
    // Printing goes on until the protection ends; what it throws ends the watch.
    const printing = options.log === 'verdicts' ? printVerdicts(protection, options) : undefined;
    return await (printing ? Promise.race([ended, printing.then(() => ended)]) : ended);
  } finally {
    clearInterval(check);
    clearInterval(summary);
  }
}

async function run(options: RunOptions): Promise<void> {
  using protection = protect(options.interface, limitsOf(options), { mode: options.mode });
  const { limits, mode, fallback, programSize } = protection;
  const { interval: _interval, ...shown } = limits;
  print(
    options,
    'attached',
    { interface: options.interface, mode, fallback, programSize, limits: shown },
    describe(protection),
  );
  const how = await watch(protection, options);
  const stats = protection.stats();
  print(options, 'totals', stats, totals(stats, limits.dryRun));
  if (how === 'gone') {
    throw new SyscallError(
      'link',
      'ENODEV',
      `protect ${options.interface}: the interface is gone, and the protection with it; start again once it is back`,
    );
  }
}

export function runCommand(): Command {
  return new Command('run')
    .description(
      'protect an interface: each source address may send a bucket of SYNs at once, and then as many as come back',
    )
    .requiredOption('-i, --interface <name>', 'the interface whose incoming SYNs are limited')
    .option('--rate <rate>', 'tokens that come back to each source: a number per s, m, h or d', '1/s')
    .option('--burst <count>', 'tokens in a full bucket', '5')
    .option('--max-sources <count>', 'sources that are remembered; the least recently seen goes first', '65536')
    .option('--port <list>', 'protect only these TCP ports, separated by commas (default: every port)')
    .addOption(
      new Option('--mode <mode>', 'where the program runs: in the driver, or after it')
        .choices(['auto', 'native', 'generic'])
        .default('auto'),
    )
    .option('--dry-run', 'drop nothing, count what would be dropped')
    .addOption(
      new Option('--log <what>', 'print totals now and then, or a line for each SYN')
        .choices(['summary', 'verdicts'])
        .default('summary'),
    )
    .option('--json', 'print one JSON object a line')
    .addHelpText(
      'after',
      '\nRuns until SIGINT or SIGTERM, then detaches and prints totals.\nExample: seawall run -i eth0 --rate 10/s --burst 20 --port 80,443',
    )
    .action(run);
}
