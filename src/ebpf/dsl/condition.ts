import type { Emitter, Pending, Test } from './emitter.ts';

/**
 * What `$.if` decides on. It is not a boolean: a plain `if` would run while the program is built, so a condition that nobody
 * consumes is refused.
 */
export class Condition {
  readonly #emitter: Emitter;
  readonly #test: Test;
  readonly #pending: Pending | undefined;

  /** `$.true` and `$.false` are `named`: nothing was asked that could be forgotten. */
  constructor(emitter: Emitter, test: Test, named = false) {
    this.#emitter = emitter;
    this.#test = test;
    this.#pending = named
      ? undefined
      : emitter.expectUse('this condition is never used; a decision of the kernel is written $.if(...)');
  }

  and(other: Condition): Condition {
    return new Condition(this.#emitter, both('and', this.consume(), other.consume(this.#emitter)));
  }

  or(other: Condition): Condition {
    return new Condition(this.#emitter, both('or', this.consume(), other.consume(this.#emitter)));
  }

  not(): Condition {
    const test = this.consume();
    return new Condition(
      this.#emitter,
      test.kind === 'constant' ? { ...test, value: !test.value } : { kind: 'not', of: test },
    );
  }

  /** The test; the condition counts as used. Internal to the toolkit. @throws DslError when used by another program. */
  consume(by: Emitter = this.#emitter): Test {
    if (by !== this.#emitter) this.#emitter.refuseForeign();
    if (this.#pending) this.#emitter.used(this.#pending);
    return this.#test;
  }
}

/** Joins two tests, and folds constants. */
export function both(kind: 'and' | 'or', left: Test, right: Test): Test {
  const neutral = kind === 'and';
  if (left.kind === 'constant') return left.value === neutral ? right : left;
  if (right.kind === 'constant') return right.value === neutral ? left : right;
  return { kind, left, right };
}
