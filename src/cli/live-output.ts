/**
 * Output of verbs that must not block on their reader. A descriptor is written to only while it takes
 * data at once. The rest waits here, up to a limit.
 */
import { writeSync } from 'node:fs';
import { canWrite } from '../ebpf/index.ts';
import { OutputError } from './output.ts';

/** A writable pipe takes this many bytes at once, even with other writers (pipe(7), PIPE_BUF). */
const PIECE = 4096;
const RETRY_MS = 10;
/** Bytes that may wait for a reader. */
const MOST_WAITING = 1 << 20;
/** How long the end waits for a reader that takes nothing. */
const LAST_PATIENCE_MS = 1000;

/** Called where printing fails, each at most once. */
export interface OutputHandlers {
  /** Nothing more can be printed. */
  readonly failed: (error: OutputError) => void;
  /** At the end some output was not read. */
  readonly leftOut: (problem: string) => void;
}

export class LiveOutput implements AsyncDisposable {
  readonly #descriptor: number;
  readonly #handlers: OutputHandlers;
  readonly #waiting: Buffer[] = [];
  #bytes = 0;
  #skipped = 0;
  #failed = false;
  #retry: NodeJS.Timeout | undefined;
  #woken: (() => void)[] = [];

  constructor(descriptor: number, handlers: OutputHandlers) {
    this.#descriptor = descriptor;
    this.#handlers = handlers;
  }

  /** Prints lines, now or once they are read; where too much waits already, they are counted and left out. */
  print(text: string): void {
    if (this.#failed) return;
    const line = Buffer.from(`${text}\n`);
    if (this.#bytes > 0 && this.#bytes + line.length > MOST_WAITING) {
      this.#skipped++;
      return;
    }
    this.#waiting.push(line);
    this.#bytes += line.length;
    if (!this.#retry) this.#write();
  }

  /** Waits until everything is written. */
  async written(): Promise<void> {
    if (this.#bytes > 0) await new Promise<void>((resolve) => this.#woken.push(resolve));
  }

  #write(): void {
    this.#retry = undefined;
    try {
      for (let [text] = this.#waiting; text; [text] = this.#waiting) {
        const taken = canWrite(this.#descriptor)
          ? writeSync(this.#descriptor, text, 0, Math.min(PIECE, text.length))
          : 0;
        if (taken === 0) {
          this.#later();
          return;
        }
        this.#bytes -= taken;
        if (taken < text.length) this.#waiting[0] = text.subarray(taken);
        else this.#waiting.shift();
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') {
        this.#later();
        return;
      }
      this.#stop();
      this.#handlers.failed(new OutputError(error as NodeJS.ErrnoException));
    }
    for (const wake of this.#woken.splice(0)) wake();
  }

  #later(): void {
    this.#retry = setTimeout(() => {
      this.#write();
    }, RETRY_MS);
  }

  #stop(): void {
    this.#failed = true;
    this.#waiting.length = 0;
    this.#bytes = 0;
    clearTimeout(this.#retry);
  }

  /** Gives the reader a last chance. */
  async [Symbol.asyncDispose](): Promise<void> {
    let patience: NodeJS.Timeout | undefined;
    const tired = new Promise<void>((resolve) => {
      patience = setTimeout(resolve, LAST_PATIENCE_MS);
    });
    await Promise.race([this.written(), tired]);
    clearTimeout(patience);
    const lost = this.#skipped + this.#waiting.length;
    this.#stop();
    if (lost > 0) this.#handlers.leftOut(`print: standard output is not read; ${String(lost)} messages were left out`);
  }
}
