import { existsSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { ExitStatus, exitStatusHelp, reportError, UsageError } from './exit-status.ts';
import { printable, quote, shorten } from '../net/quote.ts';
import { complain, printRaw } from './output.ts';
import { VERBS } from './verbs.ts';
import { version } from './version.ts';

const LONGEST = 8000;

/** What it is, what it needs, how to start, see and undo it. */
const FIRST_SCREEN = `Protects Linux hosts and routers from TCP SYN floods by an XDP program that it generates from a policy.
Needs Linux 5.15 or later, and root.

  start  seawall run -i eth0                  with --dry-run nothing is dropped
  see    seawall run -i eth0 --log verdicts   a line for each SYN
  undo   Ctrl-C, or seawall detach -i eth0    after a kill -9`;

/** The verbs that the lab brings where it is shipped; nothing else of this program knows of it. */
async function labVerbs(): Promise<Command[]> {
  const file = new URL('../../lab/cli/verbs.js', import.meta.url);
  if (!existsSync(file)) return [(await import('./trace.ts')).traceCommand()];
  const { verbs } = (await import(file.href)) as { readonly verbs: () => Command[] };
  return verbs();
}

/** The verb that is asked for; all of them where it is none of ours, or where help is wanted. */
async function verbsFor(first: string | undefined): Promise<Command[]> {
  const verb = first !== undefined && Object.hasOwn(VERBS, first) ? VERBS[first] : undefined;
  if (verb) return [await verb()];
  return [...(await Promise.all(Object.values(VERBS).map((load) => load()))), ...(await labVerbs())];
}

/** The words that call a command: `seawall`, or `lab flood`. */
function calledAs(command: Command): string {
  const names: string[] = [];
  for (let at: Command | null = command; at?.parent; at = at.parent) names.unshift(at.name());
  return names.join(' ');
}

/** Commander's error in one line, with advice; undefined for one without a message. */
function complaint(command: Command, text: string): string | undefined {
  // Where a command is missing, Commander writes the whole help.
  const usage = /^Usage: ([a-z ]+)/.exec(text);
  if (usage) {
    const [word, asked] = command.args;
    const what = word === 'help' && asked !== undefined ? `unknown command '${asked}'` : 'no command given';
    return `${what}; ${usage[1]!.trim()} --help lists them`;
  }
  if (text.startsWith('\nExit status:')) return undefined;
  const verb = calledAs(command);
  const place = verb === '' ? '' : `${verb}: `;
  if (text.startsWith('error: too many arguments')) {
    const extra = command.args[command.registeredArguments.length] ?? '';
    return `${place}${quote(extra)} is not expected; seawall ${verb} --help lists the options`;
  }
  return place + text.replace(/^error: /, '').replace(/\n\(Did you mean (.*)\?\)/, '; did you mean $1?');
}

/** The last of two values would count, and the first be lost: a port that is not protected, for one. */
function refuseTwice(command: Command): void {
  for (const option of command.options) {
    if (!option.required) continue;
    let given = 0;
    command.on(`option:${option.name()}`, () => {
      if (++given > 1) throw new UsageError(`${calledAs(command)}: ${option.flags} is given twice`);
    });
  }
}

/** Every command throws what Commander finds wrong, so that exit statuses are decided in one place. */
function strict(command: Command): Command {
  command.exitOverride().configureOutput({
    writeOut: printRaw,
    writeErr: (text) => {
      const message = complaint(command, text.trimEnd());
      if (message !== undefined) complain(`seawall: ${printable(shorten(message, LONGEST), '\t')}`);
    },
  });
  refuseTwice(command);
  command.commands.forEach((inner) => strict(inner));
  return command;
}

/** Imports the verb that the arguments name. The returned function runs it, reports every error and never rejects. */
export async function load(): Promise<() => Promise<void>> {
  const seawall = new Command('seawall')
    .description(FIRST_SCREEN)
    .version(version())
    .enablePositionalOptions()
    .addHelpText('after', exitStatusHelp);
  for (const verb of await verbsFor(process.argv[2])) seawall.addCommand(verb);
  strict(seawall);
  return async () => {
    process.on('unhandledRejection', (error) => {
      reportError(error);
      process.exit();
    });
    try {
      await seawall.parseAsync();
    } catch (error) {
      // Commander has printed its own errors, and help, already.
      if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? ExitStatus.OK : ExitStatus.USAGE;
      else reportError(error);
    }
  };
}
