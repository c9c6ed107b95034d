import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { reasonsDocument } from './reasons-document.ts';

it('docs/reasons.md is what the code gives; otherwise run npm run generate', () => {
  expect(readFileSync(new URL('../docs/reasons.md', import.meta.url), 'utf8')).toBe(reasonsDocument());
});
