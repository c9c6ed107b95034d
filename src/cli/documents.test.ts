import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { reasons } from '../dataplane/reason.ts';
import { errorCodes } from '../ebpf/language.ts';

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

it('the README has every reason, with the words of the code', () => {
  for (const { name, verdict, description } of reasons)
    expect(read('README.md')).toContain(`| \`${name}\` | ${verdict} | ${description} |`);
  expect(read('README.md').match(/^\| `[\w-]+` \| (pass|drop) \|/gm)).toHaveLength(reasons.length);
});

it('the toolkit document has every error code, with the words of the code', () => {
  for (const [code, meaning] of Object.entries(errorCodes))
    expect(read('docs/ebpf.md')).toContain(`| \`${code}\` | ${meaning} |`);
});

it('the tutorial shows the example as it is', () => {
  expect(read('docs/ebpf.md')).toContain(`\`\`\`ts\n${read('examples/count-ports.ts')}\`\`\``);
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
