import { DslError } from '../errors.ts';
import { authorsCalls, looksForSites, type SourceLocation, sourceLines } from '../source-location.ts';
import { type Role, roleOf } from './statement.ts';

/** How many programs are being built, one inside the other. */
let building = 0;

/** Runs `body`, in which a verdict that is a statement of its own is refused. */
export function whileBuilding<T>(body: () => T): T {
  building++;
  try {
    return body();
  } finally {
    building--;
  }
}

/** Lines around a place that are looked at: enough for a call's arguments. */
const AROUND = 20;

function roleAt({ file, line, column }: SourceLocation, name?: string): Role {
  const lines = sourceLines(file);
  if (line > lines.length) return 'used';
  const first = Math.max(0, line - 1 - AROUND);
  const before = lines.slice(first, line - 1).map((text) => `${text}\n`);
  const offset = before.join('').length + column - 1;
  return roleOf(lines.slice(first, line + AROUND).join('\n'), offset, name);
}

/**
 * The actions by name, each of which looks at the place that names it while a program is being built: as a statement of its own, or of a function
 * that is called so, it is a forgotten `return`. Where the source is not at hand, or not clear, nothing is refused.
 */
export function watched<A extends Readonly<Record<string, object>>>(kind: string, actions: A): A {
  const getters = Object.entries(actions).map(([name, action]) => [
    name,
    {
      enumerable: true,
      get: () => {
        if (building > 0 && looksForSites()) refuseDropped(`${kind}.${name}`, name);
        return action;
      },
    },
  ]);
  return Object.freeze(Object.defineProperties({}, Object.fromEntries(getters) as PropertyDescriptorMap)) as A;
}

/** @throws DslError where what the author's call gives, a verdict, goes nowhere. */
export function refuseDroppedCall(call: string): void {
  if (building > 0) refuseDropped(call);
}

/** @throws DslError where the verdict that is read here, or given by the author's call, goes nowhere. */
function refuseDropped(verdict: string, name?: string): void {
  let property = name;
  for (const location of authorsCalls()) {
    const role = roleAt(location, property);
    if (role === 'dropped') {
      throw new DslError(`drop ${verdict}: the block goes on as if it were not there; write return in front`, location);
    }
    if (role === 'used') return;
    property = undefined; // further out are the calls of what returned it
  }
}
