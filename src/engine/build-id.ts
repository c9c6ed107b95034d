import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What of this package decides on the instructions that come out. */
const SOURCES = ['ebpf', 'net', 'policy', 'dataplane'];

let known: string | undefined;

/** A hash over the text of everything that generates programs: another build's programs are not ours. */
export function buildId(): string {
  if (known !== undefined) return known;
  const root = fileURLToPath(new URL('..', import.meta.url));
  const hash = createHash('sha256');
  for (const part of SOURCES) {
    const names = readdirSync(join(root, part), { recursive: true, encoding: 'utf8' });
    for (const name of names.filter((file) => /\.[jt]s$/.test(file) && !/\.(d|test)\.[jt]s$/.test(file)).toSorted()) {
      hash.update(`${part}/${name}\n`).update(readFileSync(join(root, part, name)));
    }
  }
  return (known = hash.digest('hex'));
}
