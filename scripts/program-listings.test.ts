import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { documentsWithPrograms, withPrograms } from './program-listings.ts';

const root = new URL('../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');

it.each(documentsWithPrograms)('%s shows the examples as they are; otherwise run npm run generate', (path) => {
  expect(read(path)).toBe(withPrograms(read(path), read));
});

it('the cookbook shows every example of the toolkit', () => {
  for (const name of readdirSync(new URL('examples', root))) {
    if (read(`examples/${name}`).includes("from 'seawall'")) continue; // of the product
    expect(read('docs/ebpf-cookbook.md')).toContain(`<!-- examples/${name} -->\n\`\`\`ts\n`);
  }
});
