import type { z } from 'zod';
import { printable, shorten } from '../net/quote.ts';
import { nearest } from './nearest.ts';
import { policySchema } from './schema.ts';

type Issue = z.core.$ZodIssue;

/** The keys that may stand at a path of the schema, to suggest one. */
function keysAt(path: readonly PropertyKey[]): string[] {
  let schema: unknown = policySchema;
  const inside = (): void => {
    for (;;) {
      const { def } = schema as { def?: { type: string; innerType?: unknown; options?: unknown[] } };
      if (def?.type === 'optional') schema = def.innerType;
      else if (def?.type === 'union') schema = def.options![0];
      else return;
    }
  };
  for (const step of path) {
    inside();
    const { def } = schema as { def?: { type: string; shape?: Record<string, unknown>; element?: unknown } };
    schema = def?.type === 'array' ? def.element : def?.shape?.[String(step)];
    if (!schema) return [];
  }
  inside();
  return Object.keys((schema as { def: { shape?: object } }).def.shape ?? {});
}

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((value, step) => (value as Record<PropertyKey, unknown> | undefined)?.[step], input);
}

const suggestion = (word: string, words: readonly string[]): string => {
  const near = nearest(word, words);
  return near === undefined ? `use one of ${words.join(', ')}` : `did you mean "${near}"?`;
};

/** The alternative of a union that came closest: the one whose complaint lies deepest. */
function deepest(issue: Issue): Issue {
  if (issue.code !== 'invalid_union') return issue;
  const candidates = issue.errors.flat().map((inner) => deepest(inner));
  const best = candidates.toSorted((a, b) => rank(b) - rank(a))[0];
  return best ? { ...best, path: [...issue.path, ...best.path] } : issue;
}

/** What a reader of text says is worth more than that another type would have done. */
function rank({ path, code }: Issue): number {
  return path.length * 4 + (code === 'custom' ? 3 : code === 'unrecognized_keys' ? 2 : code === 'invalid_type' ? 0 : 1);
}

/** The types of the schema in TOML's words. */
const TYPES: Readonly<Record<string, string>> = {
  string: 'a string',
  boolean: 'true or false',
  int: 'a whole number',
  number: 'a number',
  array: 'an array',
  object: 'a table',
};

const named = (type: string): string => TYPES[type] ?? type;

/** What JSON has no word for. */
const wordless = (value: unknown): boolean =>
  typeof value === 'bigint' || (typeof value === 'number' && !Number.isFinite(value));

/** A value as it is written, short and printable. */
function shownValue(given: unknown): string {
  const text = JSON.stringify(given, (_key, value: unknown) => (wordless(value) ? String(value) : value));
  return printable(shorten(text));
}

/** Where the first mistake of a policy is, what was expected there, and the nearest valid word. */
export function explainIssue(found: Issue, input: unknown): { readonly path: string; readonly message: string } {
  const issue = deepest(found);
  const given = valueAt(input, issue.path);
  const shown = given === undefined ? 'nothing' : shownValue(given);
  const path = issue.path.map(String).join('.');
  switch (issue.code) {
    case 'unrecognized_keys': {
      const [key = ''] = issue.keys;
      return {
        path: path === '' ? key : `${path}.${key}`,
        message: `unknown key; ${suggestion(key, keysAt(issue.path))}`,
      };
    }
    case 'invalid_value': {
      const values = issue.values.map(String);
      return {
        path,
        message: `${shown} is not allowed; ${suggestion(typeof given === 'string' ? given : shown, values)}`,
      };
    }
    case 'invalid_type':
      return given === undefined
        ? { path, message: `missing; ${named(issue.expected)} is required` }
        : {
            path,
            message: `${shown} is not ${named(issue.expected)}${issue.expected === 'string' ? '; put it in quotes' : ''}`,
          };
    case 'too_small':
      return { path, message: `${shown} is too small; the minimum is ${String(issue.minimum)}` };
    case 'too_big':
      return {
        path,
        message: Array.isArray(given)
          ? `${String(given.length)} entries are too many; the maximum is ${String(issue.maximum)}`
          : `${shown} is too large; the maximum is ${String(issue.maximum)}`,
      };
    default:
      return { path, message: issue.message };
  }
}
