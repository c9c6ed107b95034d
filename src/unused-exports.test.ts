/** Nothing is exported that nobody imports: no rule of the linter says so. */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const ROOT = new URL('../', import.meta.url);
const FOLDERS = ['src', 'lab', 'bench', 'test', 'scripts', 'examples'];
/** What others may import. */
const ENTRIES = new Set(['src/index.ts', 'src/ebpf/index.ts', 'src/ebpf/language.ts']);

const files = FOLDERS.flatMap((folder) =>
  readdirSync(new URL(folder, ROOT), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => `${folder}/${name}`),
).concat('vitest.config.ts');
const texts = new Map(files.map((file) => [file, readFileSync(new URL(file, ROOT), 'utf8')]));
/** Which files say a word. */
const sayers = new Map<string, Set<string>>();
for (const [file, text] of texts)
  for (const word of text.match(/\w+/g) ?? []) sayers.set(word, (sayers.get(word) ?? new Set()).add(file));

it('exports no value that no other file names', () => {
  const unused: string[] = [];
  for (const [file, text] of texts) {
    if (ENTRIES.has(file)) continue;
    for (const [, name] of text.matchAll(/^export (?:abstract |async )*(?:const|let|function\*?|class) (\w+)/gm))
      if (sayers.get(name!)!.size === 1) unused.push(`${file}: ${name!}`);
  }
  // Type tests are compiled, and nothing else.
  expect(unused.filter((one) => !one.startsWith('test/types/'))).toEqual([]);
});
