import { attemptAll, throwFirst, withSuppressed } from './transaction.ts';

/** Objects that go together, the last made first. (`DisposableStack` needs Node 24.) */
export class Owned implements Disposable {
  readonly #made: Disposable[] = [];

  own<T extends Disposable>(one: T): T {
    this.#made.unshift(one);
    return one;
  }

  /** Makes what owns these objects; where that fails, they are disposed of. */
  static make<T>(build: (owned: Owned) => T): T {
    const owned = new Owned();
    try {
      return build(owned);
    } catch (error) {
      throw withSuppressed(error, attemptAll([() => owned[Symbol.dispose]()]));
    }
  }

  /** @throws the first of what disposing of them threw; all are disposed of all the same. */
  [Symbol.dispose](): void {
    throwFirst(attemptAll(this.#made.splice(0).map((one) => () => one[Symbol.dispose]())));
  }
}
