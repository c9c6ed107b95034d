import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { client, namespaceOf } from '../../lab/topology.ts';

export const CLI = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));

export interface Finished {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the built command line to its end. */
export function seawall(...args: string[]): Finished {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], {
    encoding: 'utf8',
    timeout: 110_000,
  });
  return { status, stdout, stderr };
}

/** Runs the command line on a host of the lab. */
export function seawallOn(host: 'client' | 'server', ...args: string[]): Finished {
  return seawall('lab', 'exec', host, '--', process.execPath, CLI, ...args);
}

/** Runs a command on a host of the lab. */
export function on(host: 'client' | 'server', ...command: string[]): Finished {
  return seawall('lab', 'exec', host, '--', ...command);
}

/** Fetches a page from the server; whether it came. */
export function fetchPage(url = 'http://10.0.0.10/', patience = 1): boolean {
  const args = ['-s', '-f', '-g', '-o', '/dev/null', '-m', String(patience), url];
  return namespaceOf(client).run(() => spawnSync('curl', args)).status === 0;
}

/** A process that is left running: what it printed so far, and the wait for a line. */
export class Running implements AsyncDisposable {
  readonly #child: ChildProcess;
  #output = '';
  readonly #ended: Promise<unknown>;

  constructor(file: string, args: readonly string[]) {
    this.#child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#ended = once(this.#child, 'exit');
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.#output += chunk.toString();
      });
    }
  }

  /** Starts the command line. */
  static seawall(...args: string[]): Running {
    return new Running(process.execPath, [CLI, ...args]);
  }

  /** Starts the command line on a host. */
  static seawallOn(host: 'client' | 'server', ...args: string[]): Running {
    return new Running(process.execPath, [CLI, 'lab', 'exec', host, '--', process.execPath, CLI, ...args]);
  }

  get output(): string {
    return this.#output;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Waits until the output matches. */
  async until(pattern: RegExp, patienceMs = 20_000): Promise<RegExpExecArray> {
    const deadline = Date.now() + patienceMs;
    for (;;) {
      const match = pattern.exec(this.#output);
      if (match) return match;
      if (this.#child.exitCode !== null || Date.now() > deadline)
        throw new Error(`waited for ${String(pattern)} in:\n${this.#output}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Sends a signal and waits for the end; the exit status. */
  async stop(signal: NodeJS.Signals = 'SIGINT'): Promise<number | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill(signal);
    await this.#ended;
    return this.#child.exitCode;
  }

  /** Waits for the end by itself; the exit status. */
  async ended(): Promise<number | null> {
    await this.#ended;
    return this.#child.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('SIGTERM');
  }
}

/** A real HTTP server on the lab's server. */
export async function httpServer(): Promise<Running> {
  const script = `require('node:http').createServer((_, r) => r.end('hello\\n')).listen(80, '::', () => console.log('listening'))`;
  const running = new Running(process.execPath, [CLI, 'lab', 'exec', 'server', '--', process.execPath, '-e', script]);
  await running.until(/listening/);
  return running;
}
