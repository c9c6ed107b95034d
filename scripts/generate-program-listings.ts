/** Puts the programs of the examples into the documents that show them. A test compares. */
import { readFileSync, writeFileSync } from 'node:fs';
import { documentsWithPrograms, withPrograms } from './program-listings.ts';

const read = (path: string): string => readFileSync(path, 'utf8');
for (const path of documentsWithPrograms) writeFileSync(path, withPrograms(read(path), read));
