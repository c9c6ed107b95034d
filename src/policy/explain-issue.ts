import type * as z from 'zod/mini';
import { printable, shorten } from '../net/quote.ts';
import { nearest } from './nearest.ts';
import { policySchema } from './schema.ts';

type Issue = z.core.$ZodIssue;

interface Definition {
  readonly type: string;
  readonly innerType?: unknown;
  readonly options?: readonly unknown[];
  readonly values?: readonly unknown[];
  readonly shape?: Readonly<Record<string, unknown>>;
  readonly element?: unknown;
}

const definition = (schema: unknown): Definition | undefined => (schema as { def?: Definition } | undefined)?.def;

/** The alternatives of a schema. */
function alternatives(schema: unknown): unknown[] {
  const def = definition(schema);
  if (def?.type === 'optional') return alternatives(def.innerType);
  return def?.type === 'union' ? def.options!.flatMap(alternatives) : [schema];
}

/** What the schema says of a path: the alternatives. */
function schemaAt(path: readonly PropertyKey[]): unknown[] {
  let schemas: unknown[] = [policySchema];
  for (const step of path) {
    const def = definition(schemas[0]);
    schemas = alternatives(def?.type === 'array' ? def.element : def?.shape?.[String(step)]);
  }
  return schemas;
}

/** The keys that may stand at a path of the schema, to suggest one. */
const keysAt = (path: readonly PropertyKey[]): string[] => Object.keys(definition(schemaAt(path)[0])?.shape ?? {});

const allowsFalse = (path: readonly PropertyKey[]): boolean =>
  schemaAt(path).some((schema) => definition(schema)?.values?.includes(false));

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((value, step) => (value as Record<PropertyKey, unknown> | undefined)?.[step], input);
}

const oneOf = (words: readonly string[]): string => `use one of ${words.join(', ')}`;

const suggestion = (word: string, words: readonly string[]): string => {
  const near = nearest(word, words);
  return near === undefined ? oneOf(words) : `did you mean "${near}"?`;
};

/** The alternative of a union that came closest: the one whose complaint lies deepest. */
function deepest(issue: Issue): Issue {
  if (issue.code !== 'invalid_union') return issue;
  const candidates = issue.errors.flat().map((inner) => deepest(inner));
  const best = candidates.toSorted((a, b) => rank(b) - rank(a))[0];
  return best ? { ...best, path: [...issue.path, ...best.path] } : issue;
}

/** The message of a reader of text ranks above a wrong type. An unknown key ranks as deep as the missing key that it explains. */
function rank(issue: Issue): number {
  const { path, code } = issue;
  if (code === 'unrecognized_keys') return path.length * 4 + 6;
  return path.length * 4 + (code === 'custom' ? 3 : isShape(issue) ? 2 : code === 'invalid_type' ? 0 : 1);
}

const isShape = (issue: Issue): issue is Issue & { readonly expected: 'array' | 'object' } =>
  issue.code === 'invalid_type' && (issue.expected === 'object' || issue.expected === 'array');

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
  ['bigint', 'function', 'symbol'].includes(typeof value) || (typeof value === 'number' && !Number.isFinite(value));

/** A value as it is written, short and printable. */
function shownValue(given: unknown): string {
  const text = JSON.stringify(given, (_key, value: unknown) => (wordless(value) ? String(value) : value));
  return printable(shorten(text));
}

const listed = (words: readonly string[]): string => `${words.slice(0, -1).join(', ')} and ${words.at(-1)!}`;

/** How an array or a table is written where something else was given. */
function shapeAdvice({ expected, path }: Issue & { readonly expected: 'array' | 'object' }, given: unknown): string {
  const key = String(path.at(-1));
  if (expected === 'object') {
    const keys = keysAt(path);
    const example = keys.includes('rate') ? `; for example ${key} = { rate = "1/s", burst = 5 }` : '';
    return ` with the keys ${listed(keys)}${example}${allowsFalse(path) ? ', or false for no limit' : ''}`;
  }
  if (typeof given === 'object')
    return path.length === 1 ? `; write [[${key}]] in place of [${key}], once for each` : '';
  const parts =
    typeof given === 'string' ? given.split(',').map((part) => shownValue(part.trim())) : [shownValue(given)];
  return `; write ${key} = [${shorten(parts.join(', '))}]`;
}

/** Several values in one text, where an array has one in each. */
function joined({ path }: Issue, given: unknown): string | undefined {
  if (typeof path.at(-1) !== 'number' || typeof given !== 'string' || !given.includes(',')) return undefined;
  const parts = given.split(',').map((part) => shownValue(part.trim()));
  return `${shownValue(given)} is more than one value; write each in quotes of its own: ${shorten(parts.join(', '))}`;
}

/** The mistake of a policy to tell of first: a key that the schema does not have, which explains others. */
const firstOf = (issues: readonly Issue[]): Issue =>
  issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0]!;

/** The place of a policy's first mistake, the expected value, and the nearest valid word. */
export function explainIssue(
  issues: readonly Issue[],
  input: unknown,
): { readonly path: string; readonly message: string } {
  const issue = deepest(firstOf(issues));
  const given = valueAt(input, issue.path);
  const shown = given === undefined ? 'nothing' : shownValue(given);
  const path = issue.path.map(String).join('.');
  const several = joined(issue, given);
  if (several !== undefined) return { path, message: several };
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
        message: `${shown} is not allowed; ${typeof given === 'string' ? suggestion(given, values) : oneOf(values)}`,
      };
    }
    case 'invalid_type': {
      if (given === undefined) return { path, message: `missing; ${named(issue.expected)} is required` };
      const advice = isShape(issue)
        ? shapeAdvice(issue, given)
        : issue.expected === 'string'
          ? '; put it in quotes'
          : '';
      return { path, message: `${shown} is not ${named(issue.expected)}${advice}` };
    }
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
