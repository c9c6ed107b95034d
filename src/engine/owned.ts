/** Objects that go together, the last made first. (`DisposableStack` needs Node 24.) */
export class Owned implements Disposable {
  readonly #made: Disposable[] = [];

  own<T extends Disposable>(one: T): T {
    this.#made.unshift(one);
    return one;
  }

  [Symbol.dispose](): void {
    for (const one of this.#made.splice(0)) one[Symbol.dispose]();
  }
}
