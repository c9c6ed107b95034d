import { Command, Option } from 'commander';
import { demo, type DemoResult, type LegitResult } from '../demo.ts';
import { parseSources } from '../flood.ts';
import { requireIproute } from '../topology.ts';
import type { ChallengeForm } from '../../src/policy/policy.ts';
import { challengeForms } from '../../src/policy/schema.ts';
import { parseCount } from '../../src/policy/units.ts';
import { requireRoot } from '../../src/cli/exit-status.ts';
import { complain, print } from '../../src/cli/output.ts';
import { UntilStopped } from '../../src/cli/until-stopped.ts';

interface DemoCommandOptions {
  readonly seconds: string;
  readonly rate: string;
  readonly sources: string;
  readonly form?: ChallengeForm;
  readonly json?: boolean;
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;

function row(name: string, legit: LegitResult, busy: number, worse: number): string {
  const cells = [
    name.padEnd(14),
    `${String(legit.succeeded)}/${String(legit.attempted)}`.padStart(10),
    percent(legit.successRate).padStart(8),
    percent(worse).padStart(8),
    `${legit.connectMsP50.toFixed(1)} ms`.padStart(11),
    `${legit.connectMsP99.toFixed(1)} ms`.padStart(11),
    percent(busy).padStart(9),
  ];
  return cells.join(' ');
}

function table(result: DemoResult): string {
  const { flood, quiet, unprotected, protected: guarded, tcpSyncookies } = result;
  return [
    '',
    `flood: ${flood.offeredPps.toLocaleString('en')} SYNs/s really sent, sources: ${String(flood.sources)}, ${String(flood.seconds)} s; net.ipv4.tcp_syncookies=${String(tcpSyncookies)} in both`,
    '',
    `${''.padEnd(14)} ${'page loads'.padStart(10)} ${'success'.padStart(8)} ${'worse*'.padStart(8)} ${'connect p50'.padStart(11)} ${'p99'.padStart(11)} ${'core busy'.padStart(9)}`,
    ...[['quiet', quiet] as const, ['unprotected', unprotected] as const, ['protected', guarded] as const].flatMap(
      ([name, phase]) => [
        row(name, phase.legit, phase.receivingCpuBusy, phase.worsePlacement),
        row('  one address', phase.office, phase.receivingCpuBusy, phase.worsePlacement),
      ],
    ),
    '',
    `${guarded.challenge}; passed ${guarded.verdicts.pass.toLocaleString('en')} frames, dropped ${guarded.verdicts.drop.toLocaleString('en')}, answered ${guarded.verdicts.answer.toLocaleString('en')}; ${String(guarded.nsPerPacket)} ns a frame with statistics on (${guarded.mode} mode)`,
    '* clients run on both cores; the success on the core that fared worse. A p99 near 1000 ms is a SYN sent twice.',
  ].join('\n');
}

async function run(options: DemoCommandOptions): Promise<void> {
  requireRoot('the demo');
  requireIproute();
  const abort = new AbortController();
  using _signals = new UntilStopped(() => {
    abort.abort(new Error('demo stopped; the lab is removed'));
  });
  const result = await demo({
    seconds: parseCount(options.seconds, '--seconds', 1, 600),
    rate: parseCount(options.rate, '--rate', 1, 100_000_000),
    sources: parseSources(options.sources),
    form: options.form,
    signal: abort.signal,
    progress: (line) => {
      complain(`> ${line}`);
    },
  });
  print(options.json ? JSON.stringify(result) : table(result));
}

export function demoCommand(): Command {
  return new Command('demo')
    .description('flood a real HTTP server in a lab, first unprotected and then protected, and count its clients')
    .option('--seconds <seconds>', 'how long each of the three phases lasts', '8')
    .option('--rate <pps>', 'SYNs a second', '500000')
    .option('--sources <which>', 'forged source addresses: one, a number, or random', 'one')
    .addOption(new Option('--form <form>', 'how the protection challenges').choices(challengeForms))
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      '\nNeeds root and iproute2. Sends nothing outside its own network namespaces, and removes them at the end.',
    )
    .action(run);
}
