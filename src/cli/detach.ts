import { Command } from 'commander';
import { SyscallError } from '../ebpf/index.ts';
import { protectingProcess } from '../engine/instance.ts';
import { Pins } from '../engine/pins.ts';
import { restoreSysctls } from '../engine/sysctls.ts';
import { attemptAll, throwFirst } from '../engine/transaction.ts';
import { requireRoot, UsageError } from './exit-status.ts';
import { checkInterface } from './interface-option.ts';
import { print } from './output.ts';

function detach({ interface: name }: { readonly interface: string }): void {
  checkInterface(name);
  requireRoot('detach');
  const pid = protectingProcess(name);
  if (pid !== undefined) {
    throw new SyscallError(
      'detach',
      'EBUSY',
      `detach ${name}: process ${pid} protects it; stop that process (kill ${pid}), which detaches`,
    );
  }
  const pins = new Pins(name);
  if (!pins.exist) throw new UsageError(`detach: nothing is pinned for ${name} in this network namespace`);
  const sysctls = pins.sysctls();
  throwFirst(
    attemptAll([
      () => {
        pins.remove();
      },
      () => {
        restoreSysctls(sysctls, () => pins.sysctlsOfOthers());
      },
    ]),
  );
  print(`${name} is no longer protected`);
}

export function detachCommand(): Command {
  return new Command('detach')
    .description('take down what a killed `seawall run` left in force on an interface')
    .requiredOption('-i, --interface <name>', 'the interface')
    .action(detach);
}
