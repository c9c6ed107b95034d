/**
 * Changes that happen whole or not at all. Each step registers its undo. If a step fails, the steps before it are undone in reverse order, all of
 * them even if an undo fails, and the caller gets the first cause. Old resources are released after the commit, when nothing can fail any more.
 */

/** Runs every action even if others throw. Returns the errors. */
export function attemptAll(actions: readonly (() => void)[]): unknown[] {
  const failures: unknown[] = [];
  for (const action of actions) {
    try {
      action();
    } catch (error) {
      failures.push(error);
    }
  }
  return failures;
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** The first cause, whose message tells of the others that followed; they are in `suppressed`. */
export function withSuppressed(cause: unknown, others: readonly unknown[]): unknown {
  if (others.length === 0 || !(cause instanceof Error)) return cause;
  cause.message += `; then, while it was undone: ${others.map(messageOf).join('; ')}`;
  return Object.assign(cause, { suppressed: others });
}

/** @throws the first of these errors, if there is one. */
export function throwFirst([first, ...others]: readonly unknown[]): void {
  if (first !== undefined) throw withSuppressed(first, others);
}

/** The steps of one change. */
export class Transaction {
  readonly #undo: (() => void)[] = [];
  readonly #afterwards: (() => void)[] = [];

  /** Does a step. If a later step fails, `undo` is given its result; a step that throws must have changed nothing. */
  step<T>(act: () => T, undo: (made: T) => void): T {
    const made = act();
    this.#undo.unshift(() => {
      undo(made);
    });
    return made;
  }

  /** Makes an object that is disposed of where a later step fails. */
  own<T extends Disposable>(make: () => T): T {
    return this.step(make, (made) => {
      made[Symbol.dispose]();
    });
  }

  /** Registers a release for the time after the change is in force. */
  afterwards(release: () => void): void {
    this.#afterwards.push(release);
  }

  /** Undoes every step. Returns what their undoing threw. */
  rollBack(): unknown[] {
    return attemptAll(this.#undo.splice(0));
  }

  /** Releases what is no longer needed. Returns the errors: the change is in force all the same. */
  finish(): unknown[] {
    return attemptAll(this.#afterwards.splice(0));
  }
}

/**
 * Runs the steps of a change, then `commit`, which only assigns, then releases what is no longer needed; a failed release is reported and undoes
 * nothing.
 * @throws the first cause, after everything was undone.
 */
export function transact<T>(
  steps: (transaction: Transaction) => T,
  commit: (made: T) => void = () => {},
  report: (failure: unknown) => void = warn,
): T {
  const transaction = new Transaction();
  let made: T;
  try {
    made = steps(transaction);
    commit(made);
  } catch (error) {
    throw withSuppressed(error, transaction.rollBack());
  }
  for (const failure of transaction.finish()) report(failure);
  return made;
}

function warn(failure: unknown): void {
  process.emitWarning(messageOf(failure));
}
