import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { SyscallError } from '../ebpf/index.ts';
import { interfaceKey } from './pin-key.ts';

const DIRECTORY = '/run/seawall';

/** When a process began, in ticks since boot (proc(5), field 22): with its number it is one process and no other. */
function beginning(pid: number): string | undefined {
  try {
    const fields = readFileSync(`/proc/${String(pid)}/stat`, 'latin1').split(') ')[1];
    return fields?.split(' ')[19];
  } catch {
    return undefined;
  }
}

const fileOf = (interfaceName: string): string => `${DIRECTORY}/${interfaceKey(interfaceName)}.pid`;

/** The number of the process that protects an interface now; undefined where none does. */
export function protectingProcess(interfaceName: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(fileOf(interfaceName), 'latin1');
  } catch {
    return undefined; // nobody did so far
  }
  const [pid = '', began] = text.split(' ');
  return began !== undefined && beginning(Number(pid)) === began ? pid : undefined;
}

/** Says that this process protects an interface, until it is disposed of; one process at a time does. */
export class Instance implements Disposable {
  readonly #file: string;

  /** @throws SyscallError that names the process which protects it already. */
  constructor(interfaceName: string) {
    this.#file = fileOf(interfaceName);
    mkdirSync(dirname(this.#file), { recursive: true });
    const pid = protectingProcess(interfaceName);
    if (pid !== undefined) {
      throw new SyscallError(
        'run',
        'EBUSY',
        `protect ${interfaceName}: process ${pid} does already; stop it (kill ${pid}), or let it read its policy again (kill -HUP ${pid})`,
      );
    }
    writeFileSync(this.#file, `${String(process.pid)} ${beginning(process.pid) ?? ''}`);
  }

  [Symbol.dispose](): void {
    rmSync(this.#file, { force: true });
  }
}
