import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type KnownFunctions, parseFunctions } from '../ebpf/index.ts';
import { buildId } from './build-id.ts';

/** Where a build keeps what was compiled with it, from its root; the first line is a hash of the rest. */
export const shippedFile = (): string => `dist/src/compiled/${buildId()}.json`;

export const sealed = (text: string): string => `${createHash('sha256').update(text).digest('hex')}\n${text}`;

/** The functions of the default policy, which were compiled with the package (`scripts/compile-functions.ts`); none where that is missing or damaged. */
export function shippedFunctions(): KnownFunctions {
  const end = import.meta.url.lastIndexOf('/dist/');
  if (end < 0) return []; // runs from its sources
  const root = fileURLToPath(import.meta.url.slice(0, end + 1));
  try {
    const file = readFileSync(root + shippedFile(), 'utf8');
    const text = file.slice(file.indexOf('\n') + 1);
    return file === sealed(text) ? parseFunctions(text, root) : [];
  } catch {
    return [];
  }
}
