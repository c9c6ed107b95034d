import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { decisionTable } from '../dataplane/decisions.ts';
import { errorCodes } from '../ebpf/language.ts';
import { resolvePolicy } from '../policy/policy.ts';
import { sanityChecks } from '../policy/sanity.ts';
import { policySchema } from '../policy/schema.ts';
import { readPolicy } from '../policy/toml.ts';

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

it('the toolkit document has every error code, with the words of the code', () => {
  for (const [code, meaning] of Object.entries(errorCodes))
    expect(read('docs/ebpf.md')).toContain(`| \`${code}\` | ${meaning} |`);
});

it('every dependency has its line', () => {
  const { dependencies, devDependencies } = JSON.parse(read('package.json')) as Record<string, Record<string, string>>;
  for (const name of Object.keys({ ...dependencies, ...devDependencies }))
    expect(read('docs/dependencies.md')).toContain(name);
});

it('the README names the Debian packages that CI installs', () => {
  const [, packages] = /^packages=\((.*)\)$/m.exec(read('.ci/run'))!;
  expect(read('README.md')).toContain(`\`${packages!}\``);
});

it('the policy document has the decisions of the stages, in their order', () => {
  expect(read('docs/policy.md')).toContain(`<!-- decisions -->\n${decisionTable()}`);
});

it('the policy document says everything that a policy can say, and nothing else', () => {
  const text = read('docs/policy.md');
  const [, example] = /<!-- policy -->\n```toml\n([\s\S]*?)```/.exec(text)!;
  const { input } = readPolicy(example!, 'docs/policy.md');
  const keys = Object.keys(policySchema.shape).toSorted();
  expect(Object.keys(input).toSorted()).toEqual(keys);
  for (const key of ['lists', 'limits', 'challenge', 'fragments', 'events', 'meter'] as const) {
    const given = Object.keys(input[key] as object).toSorted();
    expect(given).toEqual(Object.keys(policySchema.shape[key].def.innerType.shape).toSorted());
  }
  const { limits } = resolvePolicy({ limits: input.limits }).services[0]!;
  expect(limits).toEqual(resolvePolicy().services[0]!.limits);
  for (const [name, description] of Object.entries(sanityChecks))
    expect(text).toContain(`| \`${name}\` | ${description} |`);
});
