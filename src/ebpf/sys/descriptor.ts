import { close } from './libc.ts';

const openDescriptors = new Map<Descriptor, string>();
let traced = false;

/** From now on each descriptor remembers the stack that opened it. For tests: formatting stacks is expensive. */
export function traceDescriptors(): void {
  traced = true;
}

/** The open descriptors and, where they are traced, the stacks that opened them. */
export function leakedDescriptors(): string[] {
  return [...openDescriptors].map(
    ([descriptor, stack]) => `descriptor ${String(descriptor.fd)} (${descriptor.what})\n${stack}`,
  );
}

/** A file descriptor that is closed once, by `dispose` or `using`. `what` says what it was opened to do: `create map sources`. */
export class Descriptor implements Disposable {
  readonly #fd: number;
  readonly what: string;
  #open = true;

  constructor(fd: number, what: string) {
    this.#fd = fd;
    this.what = what;
    openDescriptors.set(this, traced ? (new Error('opened here').stack ?? '') : '');
  }

  get fd(): number {
    if (!this.#open)
      throw new Error(
        `use a closed descriptor (it was opened to ${this.what}): keep it, and the program that a map belongs to, open until the last use`,
      );
    return this.#fd;
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    openDescriptors.delete(this);
    close(this.#fd);
  }
}
