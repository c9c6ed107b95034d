#!/usr/bin/env node
import { existsSync, readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { checkCommand } from './check.ts';
import { detachCommand } from './detach.ts';
import { explainCommand } from './explain.ts';
import { replayCommand } from './replay.ts';
import { ExitStatus, exitStatusHelp, reportError } from './exit-status.ts';
import { runCommand } from './run.ts';
import { traceCommand } from './trace.ts';

const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

/** The verbs that the lab brings where it is shipped; nothing else of this program knows of it. */
async function labVerbs(): Promise<Command[]> {
  const file = new URL('../../lab/cli/verbs.js', import.meta.url);
  if (!existsSync(file)) return [traceCommand()];
  const { verbs } = (await import(file.href)) as { readonly verbs: () => Command[] };
  return verbs();
}

/** Every command throws what Commander finds wrong, so that exit statuses are decided in one place. */
function strict(command: Command): Command {
  command.exitOverride();
  command.commands.forEach((inner) => strict(inner));
  return command;
}

const seawall = new Command('seawall')
  .description('Protects Linux hosts and routers from TCP SYN floods, with XDP programs that it generates.')
  .version(version)
  .enablePositionalOptions()
  .addCommand(runCommand())
  .addCommand(checkCommand())
  .addCommand(replayCommand())
  .addCommand(explainCommand())
  .addCommand(detachCommand())
  .addHelpText('after', exitStatusHelp);
for (const verb of await labVerbs()) seawall.addCommand(verb);
strict(seawall);

try {
  await seawall.parseAsync();
} catch (error) {
  // Commander has printed its own errors, and help, already.
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? ExitStatus.OK : ExitStatus.USAGE;
  else reportError(error);
}
