#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { checkCommand } from './check.ts';
import { demoCommand } from './demo.ts';
import { detachCommand } from './detach.ts';
import { explainCommand } from './explain.ts';
import { replayCommand } from './replay.ts';
import { ExitStatus, exitStatusHelp, reportError } from './exit-status.ts';
import { labCommand } from './lab.ts';
import { runCommand } from './run.ts';
import { traceCommand } from './trace.ts';

const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

/** Every command throws what Commander finds wrong, so that exit statuses are decided in one place. */
function strict(command: Command): Command {
  command.exitOverride();
  command.commands.forEach((inner) => strict(inner));
  return command;
}

const seawall = strict(
  new Command('seawall')
    .description('Protects Linux hosts and routers from TCP SYN floods, with XDP programs that it generates.')
    .version(version)
    .enablePositionalOptions()
    .addCommand(runCommand())
    .addCommand(checkCommand())
    .addCommand(replayCommand())
    .addCommand(explainCommand())
    .addCommand(detachCommand())
    .addCommand(traceCommand())
    .addCommand(labCommand())
    .addCommand(demoCommand())
    .addHelpText('after', exitStatusHelp),
);

try {
  await seawall.parseAsync();
} catch (error) {
  // Commander has printed its own errors, and help, already.
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? ExitStatus.OK : ExitStatus.USAGE;
  else reportError(error);
}
