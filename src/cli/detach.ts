import { Command } from 'commander';
import { SyscallError } from '../ebpf/index.ts';
import { protectingProcess } from '../engine/instance.ts';
import { pinnedInterfaces } from '../engine/pin-key.ts';
import { Pins } from '../engine/pins.ts';
import { restoreSysctls } from '../engine/sysctls.ts';
import { attemptAll, throwFirst } from '../engine/transaction.ts';
import { requireRoot, UsageError } from './exit-status.ts';
import { checkInterface } from './interface-option.ts';
import { print } from './output.ts';

function list(): void {
  const names = pinnedInterfaces();
  print(names.length === 0 ? 'nothing is pinned in this network namespace' : names.map(pinnedLine).join('\n'));
}

function pinnedLine(name: string): string {
  const pid = protectingProcess(name);
  return pid === undefined ? `${name}: left behind; seawall detach -i ${name}` : `${name}: protected by process ${pid}`;
}

function detach({ interface: name }: { readonly interface?: string }): void {
  if (name !== undefined) checkInterface(name);
  requireRoot('detach');
  if (name === undefined) {
    list();
    return;
  }
  const pid = protectingProcess(name);
  if (pid !== undefined) {
    throw new SyscallError(
      'detach',
      'EBUSY',
      `detach ${name}: process ${pid} protects it; stop that process (kill ${pid}), which detaches`,
    );
  }
  const pins = new Pins(name);
  if (!pins.exist) {
    const others = pinnedInterfaces();
    const pinned = others.length === 0 ? '' : `; pinned are ${others.join(', ')}`;
    throw new UsageError(`detach: nothing is pinned for ${name} in this network namespace${pinned}`);
  }
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
    .description('take down the protection that a killed `seawall run` left; without -i, list what is pinned')
    .option('-i, --interface <name>', 'the interface')
    .action(detach);
}
