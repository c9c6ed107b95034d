/** Calls back once, on SIGINT or SIGTERM. Disposing of it gives the signals back. */
export class UntilStopped implements Disposable {
  readonly #stop: () => void;

  constructor(stop: () => void) {
    let called = false;
    this.#stop = (): void => {
      if (!called) stop();
      called = true;
    };
    process.on('SIGINT', this.#stop);
    process.on('SIGTERM', this.#stop);
  }

  [Symbol.dispose](): void {
    process.off('SIGINT', this.#stop);
    process.off('SIGTERM', this.#stop);
  }
}
