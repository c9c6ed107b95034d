import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { SyscallError } from '../ebpf/index.ts';
import { Pins } from './pins.ts';

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

/** Says that this process protects an interface, until it is disposed of; one process at a time does. */
export class Instance implements Disposable {
  readonly #file: string;

  /** @throws SyscallError that names the process which protects it already. */
  constructor(interfaceName: string) {
    this.#file = `${DIRECTORY}/${basename(new Pins(interfaceName).directory)}.pid`;
    mkdirSync(dirname(this.#file), { recursive: true });
    const [pid = '', began] = this.#read();
    if (began !== undefined && beginning(Number(pid)) === began) {
      throw new SyscallError(
        'run',
        'EBUSY',
        `protect ${interfaceName}: process ${pid} does already; stop it (kill ${pid}), or let it read its policy again (kill -HUP ${pid})`,
      );
    }
    writeFileSync(this.#file, `${String(process.pid)} ${beginning(process.pid) ?? ''}`);
  }

  #read(): string[] {
    try {
      return readFileSync(this.#file, 'latin1').split(' ');
    } catch {
      return []; // nobody did so far
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.#file, { force: true });
  }
}
