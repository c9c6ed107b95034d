import { Command } from 'commander';
import { Pins } from '../engine/pins.ts';
import { requireRoot, UsageError } from './exit-status.ts';
import { print } from './output.ts';

function detach({ interface: name }: { readonly interface: string }): void {
  requireRoot('detach');
  const pins = new Pins(name);
  if (!pins.exist) throw new UsageError(`detach: nothing is pinned for ${name} in this network namespace`);
  pins.remove();
  print(`${name} is no longer protected`);
}

export function detachCommand(): Command {
  return new Command('detach')
    .description('take down what a killed `seawall run` left in force on an interface')
    .requiredOption('-i, --interface <name>', 'the interface')
    .action(detach);
}
