import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { client, LAB_INTERFACE, type LabHost, namespaceOf, server } from '../../lab/topology.ts';
import { interfaceIndex, readInterface } from '../../src/ebpf/index.ts';

const built = (path: string): string => fileURLToPath(new URL(`../../dist/src/${path}`, import.meta.url));
const HARNESS = fileURLToPath(new URL('command-lines.mjs', import.meta.url));

export const CLI = built('cli/main.js');

const HOSTS = { client: namespaceOf(client), server: namespaceOf(server) };
type Host = LabHost['name'];

export interface Finished {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function finished(file: string, args: readonly string[]): Finished {
  const { status, stdout, stderr } = spawnSync(file, args, { encoding: 'utf8', timeout: 110_000 });
  return { status, stdout, stderr };
}

/** Runs the built command line to its end. */
export function seawall(...args: string[]): Finished {
  return finished(process.execPath, [CLI, ...args]);
}

/**
 * Runs command lines in one process, one after the other, with the words of `within` in front of it: for what they print and their
 * status, where nothing else of the process matters.
 */
export function commandLines(lines: readonly (readonly string[])[], ...within: string[]): Finished[] {
  const command = [...within, process.execPath, HARNESS, JSON.stringify(lines)];
  const { status, stdout, stderr } = finished(command[0]!, command.slice(1));
  if (status !== 0) throw new Error(`run ${String(lines.length)} command lines: status ${String(status)}\n${stderr}`);
  return JSON.parse(stdout) as Finished[];
}

/** Runs the command line on a host of the lab. */
export function seawallOn(host: Host, ...args: string[]): Finished {
  return HOSTS[host].run(() => seawall(...args));
}

/** Runs a command on a host of the lab. */
export function on(host: Host, file: string, ...args: string[]): Finished {
  return HOSTS[host].run(() => finished(file, args));
}

/** The XDP programs on the server's interface. */
export const attached = (): object => HOSTS.server.run(() => readInterface(interfaceIndex(LAB_INTERFACE)!).xdp);

/** Fetches a page from the server; whether it came. */
export function fetchPage(url = 'http://10.0.0.10/', patience = 20): boolean {
  return on('client', 'curl', '-s', '-f', '-g', '-o', '/dev/null', '-m', String(patience), url).status === 0;
}

/** Whether a connection to the server is refused by silence. The first SYN is sent again after a second. */
export const isSilent = (): boolean => !fetchPage('http://10.0.0.10/', 0.9);

/** A process that is left running: what it printed so far, and the wait for a line. */
export class Running implements AsyncDisposable {
  readonly #child: ChildProcess;
  #output = '';
  readonly #ended: Promise<unknown>;

  constructor(file: string, args: readonly string[]) {
    // A group of its own, so that what a shell started ends with it.
    this.#child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    // Not `exit`: what it printed last is still to be read then.
    this.#ended = once(this.#child, 'close');
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.#output += chunk.toString();
      });
    }
  }

  /** Starts a command on a host. */
  static on(host: Host, file: string, ...args: string[]): Running {
    return HOSTS[host].run(() => new Running(file, args));
  }

  /** Starts the command line. */
  static seawall(...args: string[]): Running {
    return new Running(process.execPath, [CLI, ...args]);
  }

  /** Starts the command line on a host. */
  static seawallOn(host: Host, ...args: string[]): Running {
    return Running.on(host, process.execPath, CLI, ...args);
  }

  /** Starts a line of shell on a host, in which `"$@"` calls the command line. */
  static shellOn(host: Host, line: string, ...args: string[]): Running {
    return Running.on(host, 'bash', '-c', line, 'bash', process.execPath, CLI, ...args);
  }

  get output(): string {
    return this.#output;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Waits until the output matches. */
  async until(pattern: RegExp, patienceMs = 60_000): Promise<RegExpExecArray> {
    const deadline = Date.now() + patienceMs;
    for (;;) {
      const match = pattern.exec(this.#output);
      if (match) return match;
      if (this.#child.exitCode !== null || Date.now() > deadline)
        throw new Error(`waited for ${String(pattern)} in:\n${this.#output}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
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
    try {
      process.kill(-this.pid, 'SIGTERM');
    } catch {
      // nobody of the group is left
    }
    await this.#ended;
  }
}

/** A real HTTP server on the lab's server. */
export async function httpServer(): Promise<Running> {
  const script = `require('node:http').createServer((_, r) => r.end('hello\\n')).listen(80, '::', () => console.log('listening'))`;
  const running = Running.on('server', process.execPath, '-e', script);
  await running.until(/listening/);
  return running;
}
