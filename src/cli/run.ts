import { setImmediate as nextTurn } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { SyscallError, type XdpMode } from '../ebpf/index.ts';
import { type ProtectedInterface, protect, type Stats } from '../engine/protect.ts';
import type { SynReport } from '../engine/syn-report.ts';
import { hostNotes } from '../engine/host-notes.ts';
import { guardAgainstLockOut } from '../engine/lock-out.ts';
import type { Policy } from '../policy/policy.ts';
import { formatPolicy } from '../policy/toml.ts';
import { requireRoot, UsageError } from './exit-status.ts';
import { checkInterface } from './interface-option.ts';
import { Instance } from '../engine/instance.ts';
import { addPolicyOptions, policyOf, type PolicyOptions } from './policy-options.ts';
import { LiveOutput } from './live-output.ts';
import { UntilStopped } from './until-stopped.ts';

interface RunOptions extends PolicyOptions {
  readonly interface?: string;
  readonly mode: XdpMode | 'auto';
  readonly log: 'summary' | 'verdicts';
  readonly allowLockOut?: boolean;
  readonly json?: boolean;
}

const SUMMARY_EVERY_MS = 10_000;
const LINES_AT_ONCE = 256;
/** How often it is looked whether the interface is still there. */
const CHECK_EVERY_MS = 1000;

/** Numbers in JSON: counters fit a double for the next two hundred years at a million a second. */
const plain = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? Number(value) : value);

/** Where `run` prints: what happens, and what went wrong. */
class Output implements AsyncDisposable {
  readonly #json: boolean;
  /** Failures of standard error have no reader. */
  readonly #complaints = new LiveOutput(2, { failed: () => {}, leftOut: () => {} });
  readonly #out = new LiveOutput(1, {
    failed: ({ message }) => {
      this.complain(`${message}; the protection goes on, and prints nothing more`);
    },
    leftOut: (problem) => {
      this.complain(problem);
    },
  });

  constructor(json: boolean) {
    this.#json = json;
  }

  print(kind: string, fields: object, text: string): void {
    this.#out.print(this.#json ? JSON.stringify({ kind, ...fields }, plain) : text);
  }

  complain(text: string): void {
    this.#complaints.print(`seawall: ${text}`);
  }

  /** Waits until a reader has taken everything that was printed. */
  printed(): Promise<void> {
    return this.#out.written();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#out[Symbol.asyncDispose]();
    await this.#complaints[Symbol.asyncDispose]();
  }
}

function describe(protection: ProtectedInterface): string {
  const { policy, mode, fallback, programSize } = protection;
  const lines = [`protecting ${protection.interface} (${mode} mode, ${String(programSize)} instructions)`];
  if (fallback !== undefined) lines.push(`not native: ${fallback}`);
  lines.push(protection.challengeNote);
  if (policy.dryRun) lines.push('dry run: nothing is dropped or challenged');
  lines.push(
    'policy in effect:',
    ...formatPolicy(policy)
      .trimEnd()
      .split('\n')
      .map((line) => `  ${line}`.trimEnd()),
  );
  return lines.join('\n');
}

function verdictLine(report: SynReport, burst: number): string {
  const { source, sourcePort, destination, destinationPort, tokensLeft, verdict, reason } = report;
  const host = (address: string, port: number): string =>
    address.includes(':') ? `[${address}]:${String(port)}` : `${address}:${String(port)}`;
  const tokens = tokensLeft === undefined ? '' : ` tokens ${String(tokensLeft)}/${String(burst)}`;
  return `SYN ${host(source, sourcePort)} > ${host(destination, destinationPort)}${tokens} ${verdict.toUpperCase()} (${reason})`;
}

function totals(stats: Stats, dryRun: boolean): string {
  const reasons = Object.entries(stats.reasons).filter(([, count]) => count > 0n);
  const list = reasons.map(([name, count]) => `${name} ${count.toLocaleString('en')}`).join(', ');
  const would = dryRun
    ? `, would have dropped ${stats.wouldDrop.toLocaleString('en')} and challenged ${stats.wouldAnswer.toLocaleString('en')}`
    : '';
  const lost =
    stats.lostEvents > 0n ? `; ${stats.lostEvents.toLocaleString('en')} events were not printed in time` : '';
  return `passed ${stats.pass.toLocaleString('en')}, dropped ${stats.drop.toLocaleString('en')}, challenged ${stats.answer.toLocaleString('en')}${would}${list ? ` (${list})` : ''}${lost}`;
}

/** Prints as fast as the lines are read. While they are not, events wait in the kernel's ring, and what finds no room there is counted. */
async function printVerdicts(protection: ProtectedInterface, output: Output): Promise<void> {
  let printed = 0;
  for await (const report of protection.events()) {
    const service = protection.policy.services.find(({ name }) => name === report.service);
    output.print('syn', report, verdictLine(report, service?.limits.source?.burst ?? 0));
    await output.printed();
    // Events that never cease would leave no time for signals and timers.
    if (++printed % LINES_AT_ONCE === 0) await nextTurn();
  }
}

/** Why a protection ended. */
type End = 'stopped' | 'gone' | 'moved';

/** Prints until a signal comes or the interface goes. */
async function watch(
  protection: ProtectedInterface,
  options: RunOptions,
  output: Output,
  stopped: Promise<'stopped'>,
): Promise<End> {
  let end!: (how: End) => void;
  const ended = new Promise<End>((resolve) => {
    end = resolve;
  });
  void stopped.then(end);
  let over = false;
  const reloadOnce = async (): Promise<void> => {
    try {
      const { input, policy, use } = policyOf(options);
      use(() => {
        if (!options.allowLockOut) guardAgainstLockOut(policy);
      });
      await protection.prepare(input);
      if (over) return;
      use(() => {
        protection.update(input);
      });
      output.print('reloaded', { policy: formatPolicy(policy) }, 'policy read again and in force');
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      output.complain(`reload: ${reason}; the policy before stays in force`);
    }
  };
  let reloads = Promise.resolve();
  let waiting = false;
  /** One after the other; what changes while one is under way is read by one more. */
  const reload = (): void => {
    if (waiting) return;
    waiting = true;
    reloads = reloads.then(() => {
      waiting = false;
      return reloadOnce();
    });
  };
  // Signals that come while a policy is put into force are one reload, which begins after the last of them.
  let asked: NodeJS.Immediate | undefined;
  const hangUp = (): void => {
    clearImmediate(asked);
    asked = setImmediate(reload);
  };
  process.on('SIGHUP', hangUp);
  let called = protection.interface;
  const check = setInterval(() => {
    if (!protection.attached) {
      end('gone');
      return;
    }
    const name = protection.currentName;
    if (name === undefined) end('moved');
    else if (name !== called) {
      output.complain(
        `${called} is called ${name} now; the protection goes on, and is pinned as ${protection.interface}`,
      );
      called = name;
    }
  }, CHECK_EVERY_MS);
  const summary = setInterval(() => {
    if (options.log !== 'summary') return;
    const stats = protection.stats();
    output.print('summary', stats, totals(stats, protection.policy.dryRun));
  }, SUMMARY_EVERY_MS);
  try {
    // Printing goes on until the protection ends; an error in it ends the watch.
    const printing = options.log === 'verdicts' ? printVerdicts(protection, output) : undefined;
    return await (printing ? Promise.race([ended, printing.then(() => ended)]) : ended);
  } finally {
    over = true;
    process.off('SIGHUP', hangUp);
    clearImmediate(asked);
    clearInterval(check);
    clearInterval(summary);
  }
}

/** The interface of the command line, or the one that the policy names. */
function interfaceOf(options: RunOptions, policy: Policy): string {
  const names = options.interface === undefined ? policy.interfaces : [options.interface];
  const [only, ...others] = names;
  if (only === undefined)
    throw new UsageError('run: name an interface with -i, or in the policy (interfaces = ["eth0"])');
  if (others.length > 0)
    throw new UsageError(`run: the policy names ${names.join(', ')}; run one process for each, with -i`);
  checkInterface(only);
  return only;
}

async function run(options: RunOptions): Promise<void> {
  requireRoot('protecting an interface');
  // From here on a signal waits until the protection stands, and takes it down again: none leaves a half of it behind.
  let stop!: (how: 'stopped') => void;
  const stopped = new Promise<'stopped'>((resolve) => {
    stop = resolve;
  });
  using _signals = new UntilStopped(() => {
    stop('stopped');
  });
  const { input, policy, use } = policyOf(options);
  use(() => {
    if (!options.allowLockOut) guardAgainstLockOut(policy);
  });
  const name = interfaceOf(options, policy);
  using _instance = new Instance(name);
  await using output = new Output(options.json ?? false);
  using protection = use(() => protect(name, input, { mode: options.mode, pin: true }));
  const { mode, fallback, lostAnswers, programSize } = protection;
  output.print(
    'attached',
    {
      interface: name,
      mode,
      fallback,
      lostAnswers,
      programSize,
      challenge: protection.challengeNote,
      policy: formatPolicy(policy),
    },
    describe(protection),
  );
  if (lostAnswers !== undefined)
    output.complain(`${name}: answers of challenges do not arrive in native mode: ${lostAnswers}; leave out --mode`);
  if (protection.outlivesProcess === false) {
    output.complain(
      "this mount namespace has a BPF file system of its own (ip netns exec and containers make one): the protection ends with it, even where this process is killed; nsenter --net keeps the host's",
    );
  }
  // Reading begins at once: the tools of the firewall take a while.
  const watching = watch(protection, options, output, stopped);
  for (const note of hostNotes(policy)) output.complain(note);
  const how = await watching;
  const stats = protection.stats();
  output.print('totals', stats, totals(stats, protection.policy.dryRun));
  if (how !== 'stopped') {
    const what = how === 'gone' ? 'is gone' : 'was moved to another network namespace';
    const next = how === 'gone' ? 'start again once it is back' : 'start it again there';
    throw new SyscallError(
      'link',
      'ENODEV',
      `protect ${name}: the interface ${what}, and the protection with it; ${next}`,
    );
  }
}

export function runCommand(): Command {
  const command = new Command('run')
    .description('protect an interface from SYN floods')
    .option('-i, --interface <name>', 'the interface whose incoming SYNs are judged');
  return addPolicyOptions(command)
    .addOption(
      new Option('--mode <mode>', 'where the program runs: in the driver, or after it')
        .choices(['auto', 'native', 'generic'])
        .default('auto'),
    )
    .addOption(
      new Option('--log <what>', 'print totals every 10 seconds, or a line for each SYN')
        .choices(['summary', 'verdicts'])
        .default('summary'),
    )
    .option('--allow-lock-out', 'apply the policy even if it cuts off management addresses or your SSH session')
    .option('--json', 'print one JSON object a line')
    .addHelpText(
      'after',
      '\nRuns until SIGINT or SIGTERM, then detaches and prints totals. SIGHUP reads the policy again and applies it.\nIf the process is killed, the protection stays; the next run takes it over.\nExample: seawall run -i eth0 --rate 10/s --burst 20 --port 80,443',
    )
    .action(run);
}
