import fc from 'fast-check';
import { parse, stringify, TomlDate } from 'smol-toml';
import { expect, it } from 'vitest';
import { PolicyError } from './policy-error.ts';
import { resolvePolicy } from './policy.ts';
import { formatPolicy, readPolicy } from './toml.ts';

type Path = readonly (string | number)[];

const { services, ...rest } = parse(
  formatPolicy(
    resolvePolicy({
      interfaces: ['eth0'],
      management: ['192.0.2.1'],
      lists: { allow: ['192.0.2.1'], deny: ['198.51.100.1'] },
      services: [{ name: 'web', addresses: ['192.0.2.80'], ports: [80, '81-82'] }],
    }),
  ),
);
const [{ limits }] = services as [{ limits: object }];
/** A policy with every key. */
const WHOLE = { ...rest, services, limits, challenge: { ...(rest['challenge'] as object), mode: 'auto' } };

/** The paths of everything in a value, itself left out. */
const pathsIn = (value: unknown): Path[] =>
  typeof value !== 'object' || value === null
    ? []
    : Object.entries(value).flatMap(([key, inner]) => {
        const step = Array.isArray(value) ? Number(key) : key;
        return [[step], ...pathsIn(inner).map((path) => [step, ...path])];
      });

/** The policy as text, with another value at a path. */
function textWith(path: Path, value: unknown): string {
  const policy: object = structuredClone(WHOLE);
  const inner = path.slice(0, -1).reduce<unknown>((at, step) => (at as Record<PropertyKey, unknown>)[step], policy);
  (inner as Record<PropertyKey, unknown>)[path.at(-1)!] = value;
  return stringify(policy);
}

const KEYS = ['rate', 'burst', 'name', 'mode', 'form', 'toString', 'constructor', 'length', 'toJSON', 'a.b', ''];
const { value: tomlValue } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom<unknown>('', '1/s', '5m', '10k', 'auto', '10.0.0.0/8', '::/0', '80-90', '\u001b[2J', '\0', '[]'),
    fc.string({ unit: 'grapheme' }),
    fc.boolean(),
    fc.integer(),
    fc.double(),
    fc.constantFrom(
      ...['1979-05-27T07:32:00Z', '1979-05-27T07:32:00', '1979-05-27', '07:32:00'].map((text) => new TomlDate(text)),
    ),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...KEYS), tie('value'), { maxKeys: 3 }),
  ),
}));

/** Reads a policy, which may be refused with file, line and path, and not otherwise. */
function readOrRefuse(text: string): void {
  try {
    readPolicy(text, 'p.toml');
  } catch (error) {
    expect(error, text).toBeInstanceOf(PolicyError);
    expect((error as PolicyError).message).toMatch(/^p\.toml:[1-9]\d*: \S+: \S|^p\.toml:[1-9]\d*: column \d+: \S/);
    expect((error as PolicyError).message).not.toContain('[object');
  }
}

it('refuses any value of TOML at any key with file, line and path, or takes it', () => {
  fc.assert(
    fc.property(fc.constantFrom(...pathsIn(WHOLE)), tomlValue, (path, value) => {
      readOrRefuse(textWith(path, value));
    }),
    { numRuns: 1000 },
  );
});

it.each(['{}', '[{}]', 'nan', '-inf', '1979-05-27', '{ toString = 1 }', '{ toJSON = "x" }', '[[[]]]'])(
  'refuses %s wherever it does not belong',
  (text) => {
    const { value } = parse(`value = ${text}`);
    for (const path of pathsIn(WHOLE)) readOrRefuse(textWith(path, value));
  },
);
