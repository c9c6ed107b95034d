import { Command, Option } from 'commander';
import { type FloodKind, floodKinds } from '../flood-program.ts';
import { flood, type FloodReport, parseSources } from '../flood.ts';
import {
  client,
  labDown,
  labHosts,
  type LabHost,
  labStatus,
  labUp,
  namespaceOf,
  requireIproute,
  server,
} from '../topology.ts';
import { parseCount } from '../../src/policy/units.ts';
import { requireRoot, UsageError } from '../../src/cli/exit-status.ts';
import { print } from '../../src/cli/output.ts';
import { waitOn, type WaitOptions } from './wait.ts';

interface JsonOption {
  readonly json?: boolean;
}

function prepare(): void {
  requireRoot('the lab');
  requireIproute();
}

function hostNamed(name: string): LabHost {
  const host = labHosts.find((candidate) => candidate.name === name);
  if (!host)
    throw new UsageError(`lab: ${name}: no such host; there are ${labHosts.map((known) => known.name).join(' and ')}`);
  return host;
}

function up(): void {
  prepare();
  const built = labUp();
  print(built ? 'the lab is up' : 'the lab was up already');
  print(`client ${client.ipv4} ${client.ipv6}, server ${server.ipv4} ${server.ipv6}, interface eth0 in each`);
}

function down(): void {
  prepare();
  print(labDown() ? 'the lab is gone' : 'there was no lab');
}

function status({ json }: JsonOption): void {
  prepare();
  const hosts = labStatus();
  if (json) print(JSON.stringify({ hosts }));
  else
    for (const { host, namespace, up: isUp, ipv4, ipv6 } of hosts)
      print(`${host} ${isUp ? 'up' : 'down'} namespace ${namespace} ${ipv4} ${ipv6}`);
}

async function exec(host: string, words: readonly string[]): Promise<void> {
  prepare();
  const command = words[0] === '--' ? words.slice(1) : words;
  if (command.length === 0)
    throw new UsageError('lab exec: no command given; write seawall lab exec server -- ip addr');
  const netns = namespaceOf(hostNamed(host));
  if (!netns.exists) throw new UsageError('lab exec: the lab is not up; run seawall lab up');
  const [file = '', ...args] = command;
  const child = netns.spawn(file, args, { stdio: 'inherit' });
  // The child has the terminal; what interrupts it interrupts us, and its end is ours.
  const forward = (signal: NodeJS.Signals): void => {
    child.kill(signal);
  };
  process.on('SIGINT', forward).on('SIGTERM', forward);
  process.exitCode = await new Promise<number>((resolve, reject) => {
    child.once('error', (error) => {
      reject(new UsageError(`lab exec ${file}: ${error.message}`));
    });
    child.once('exit', (code, signal) => {
      resolve(code ?? (signal === null ? 1 : 128));
    });
  });
  process.off('SIGINT', forward).off('SIGTERM', forward);
}

async function wait(host: string, options: WaitOptions): Promise<void> {
  prepare();
  const netns = namespaceOf(hostNamed(host));
  if (!netns.exists) throw new UsageError('lab wait: the lab is not up; run seawall lab up');
  await waitOn(netns, options);
}

interface FloodCommandOptions extends JsonOption {
  readonly rate: string;
  readonly sources: string;
  readonly kind: FloodKind;
  readonly seconds: string;
  readonly target: string;
  readonly port: string;
}

function floodCommand(options: FloodCommandOptions): void {
  prepare();
  const report: FloodReport = flood({
    rate: parseCount(options.rate, '--rate', 1, 100_000_000),
    sources: parseSources(options.sources),
    kind: options.kind,
    seconds: parseCount(options.seconds, '--seconds', 1, 3600),
    target: options.target,
    port: parseCount(options.port, '--port', 1, 65535),
  });
  const { sent, received, seconds, pps } = report;
  print(
    options.json
      ? JSON.stringify(report)
      : `sent ${sent.toLocaleString('en')} ${options.kind.toUpperCase()}s in ${String(seconds)} s: ${pps.toLocaleString('en')} a second; the server's interface counted ${received.toLocaleString('en')} packets`,
  );
}

export function labCommand(): Command {
  const lab = new Command('lab')
    .description('a client and a server in network namespaces of this machine, for trials')
    .enablePositionalOptions();
  lab
    .command('up')
    .description('build the lab unless it stands: client 10.0.0.1 and server 10.0.0.10, IPv6 as well')
    .action(up);
  lab.command('down').description('remove the lab, every process in it, and what a crash left behind').action(down);
  lab.command('status').description('show the hosts').option('--json', 'as JSON').action(status);
  lab
    .command('exec <host> <command...>')
    .description('run a command on a host: seawall lab exec server -- ip addr')
    .passThroughOptions()
    .action(exec);
  lab
    .command('wait <host>')
    .description('wait for a condition on a host')
    .option('--listening <port>', 'a TCP port is listening')
    .option('--attached <program>', 'the XDP program on eth0 has this name: seawall, seawall_trace')
    .option('--packets <number>', 'so many packets came in since the wait began')
    .option('--seconds <seconds>', 'give up after', '30')
    .action(wait);
  lab
    .command('flood')
    .description('send SYNs or ACKs from the client to the server, inside the lab and nowhere else')
    .option('--rate <pps>', 'segments a second at most', '100000')
    .option('--sources <which>', 'forged source addresses: one, a number, or random', 'one')
    .addOption(new Option('--kind <kind>', 'what it is made of').choices(floodKinds).default('syn'))
    .option('--seconds <seconds>', 'how long', '5')
    .option('--target <address>', "the lab's server; anything else is refused", server.ipv4)
    .option('--port <port>', 'TCP port', '80')
    .option('--json', 'as JSON')
    .action(floodCommand);
  return lab;
}
