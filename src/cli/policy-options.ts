import { dirname, isAbsolute, join } from 'node:path';
import { type Command, Option } from 'commander';
import { FileError, FileLimit, readRegularFile } from '../engine/regular-file.ts';
import { type Policy, resolvePolicy } from '../policy/policy.ts';
import { challengeForms, challengeModes, type PolicyInput } from '../policy/schema.ts';
import { located, readPolicy } from '../policy/toml.ts';
import { defaults } from '../policy/policy.ts';
import { parseCount, parsePorts } from '../policy/units.ts';
import { PolicyError } from '../policy/policy-error.ts';
import { UsageError } from './exit-status.ts';

/** The short form of a policy on the command line. */
export interface PolicyOptions {
  readonly config?: string;
  readonly rate?: string;
  readonly burst?: string;
  readonly port?: string;
  readonly challenge?: (typeof challengeModes)[number];
  readonly form?: (typeof challengeForms)[number];
  readonly dryRun?: boolean;
}

export function addPolicyOptions(command: Command): Command {
  return command
    .option('-c, --config <file>', 'the policy, in TOML (docs/policy.md); options here override it')
    .option(
      '--rate <rate>',
      `rate at which each source gets tokens back: a number per s, m, h or d (default: ${defaults.source.rate})`,
    )
    .option('--burst <count>', `tokens in a full bucket (default: ${String(defaults.source.burst)})`)
    .option('--port <list>', 'protect only these TCP ports and ranges, separated by commas (default: every port)')
    .addOption(
      new Option('--challenge <mode>', `when SYNs are challenged (default: ${defaults.mode})`).choices(challengeModes),
    )
    .addOption(
      new Option('--form <form>', `how they are challenged (default: ${defaults.form})`).choices(challengeForms),
    )
    .option('--dry-run', 'drop and challenge nothing; count what would have been dropped or challenged');
}

const UTF8 = new TextDecoder('utf-8', { fatal: true });

/** @throws UsageError for a file that cannot be read. */
function readFile(file: string): string {
  try {
    return UTF8.decode(readRegularFile(file, FileLimit.POLICY));
  } catch (error) {
    const { message } = error as Error;
    throw new UsageError(error instanceof FileError ? message : `read ${file}: it is not UTF-8`, { cause: error });
  }
}

/** A policy file's input, whose list files lie where the file does unless their paths are absolute. */
function withListFiles(input: PolicyInput, config: string): PolicyInput {
  const { lists } = input;
  if (!lists) return input;
  const beside = (files: readonly string[]): string[] =>
    files.map((file) => (isAbsolute(file) ? file : join(dirname(config), file)));
  return {
    ...input,
    lists: {
      ...lists,
      ...(lists['allow-files'] ? { 'allow-files': beside(lists['allow-files']) } : {}),
      ...(lists['deny-files'] ? { 'deny-files': beside(lists['deny-files']) } : {}),
    },
  };
}

/** A policy, and where it was written. */
export interface GivenPolicy {
  readonly input: PolicyInput;
  readonly policy: Policy;
  /** Puts the policy to a use. @throws PolicyError with file and line where that finds a mistake in it. */
  readonly use: <T>(action: () => T) => T;
}

/** Reads the file and lays the options over it. @throws PolicyError with file and line, or the option. */
export function policyOf(options: PolicyOptions): GivenPolicy {
  const { config, rate, burst, port, challenge, form, dryRun } = options;
  const text = config === undefined ? '' : readFile(config);
  const file: PolicyInput = config === undefined ? {} : withListFiles(readPolicy(text, config).input, config);
  const before = file.limits?.source || defaults.source;
  const source =
    rate === undefined && burst === undefined
      ? {}
      : {
          source: {
            rate: rate ?? before.rate,
            burst: burst === undefined ? before.burst : parseCount(burst, '--burst', 1, 1_000_000),
          },
        };
  if (port !== undefined && file.services?.length)
    throw new PolicyError('--port', `${config!} names services; name the ports there`);
  const services =
    port === undefined
      ? {}
      : {
          services: [
            {
              name: 'ports',
              ports: parsePorts(port, '--port').map(({ first, last }) => `${String(first)}-${String(last)}`),
            },
          ],
        };
  const asked = { ...(challenge ? { mode: challenge } : {}), ...(form ? { form } : {}) };
  const input: PolicyInput = {
    ...file,
    ...services,
    ...(Object.keys(source).length > 0 ? { limits: { ...file.limits, ...source } } : {}),
    ...(Object.keys(asked).length > 0 ? { challenge: { ...file.challenge, ...asked } } : {}),
    ...(dryRun ? { 'dry-run': true } : {}),
  };
  const use = <T>(action: () => T): T => {
    try {
      return action();
    } catch (error) {
      throw config === undefined ? error : located(error, text, config);
    }
  };
  return { input, policy: use(() => resolvePolicy(input)), use };
}
