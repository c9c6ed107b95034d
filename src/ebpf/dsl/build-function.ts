import { DslError } from '../errors.ts';
import { CallSite } from '../source-location.ts';
import type { BuilderCore } from './blocks.ts';
import type { Emitter } from './emitter.ts';
import type { Exited } from './exited.ts';

const building = new WeakSet<object>();

/** Builds a function, unless the program has it already. @throws DslError for one that calls itself, or that has another's name. */
export function buildFunction<R>(
  caller: Emitter,
  fn: { readonly name: string },
  open: () => { readonly core: BuilderCore<R>; readonly body: () => R | Exited },
): void {
  const { functions } = caller.context;
  if (building.has(fn)) {
    throw new DslError(`call ${fn.name}: a function cannot call itself`, new CallSite().location);
  }
  const known = functions.get(fn.name);
  if (known && known.of !== fn) {
    throw new DslError(`call ${fn.name}: the program has another function of this name`, new CallSite().location);
  }
  if (known) return;
  building.add(fn);
  try {
    const { core, body } = open();
    functions.set(fn.name, { of: fn, ir: core.emitter.fn, emitter: core.emitter });
    caller.suspended(() => {
      finishBody(core, body(), fn.name);
    });
  } finally {
    building.delete(fn);
  }
}

/** Ends a function with the result of its body, and refuses leftovers. */
export function finishBody<R>(core: BuilderCore<R>, result: R | Exited, name: string): void {
  const { emitter } = core;
  if (result === undefined && emitter.reachable) {
    throw new DslError(`build ${name}: the body returned no verdict`, emitter.fn.site.location);
  }
  core.finish(result);
  // A block after the last exit is unreachable and has no end of its own.
  emitter.fn.blocks = emitter.fn.blocks.filter((block) => block.end !== undefined);
  emitter.checkLeftovers();
  emitter.finish();
}
