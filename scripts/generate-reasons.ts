/** Writes docs/reasons.md. A test compares the two. */
import { writeFileSync } from 'node:fs';
import { reasonsDocument } from './reasons-document.ts';

writeFileSync('docs/reasons.md', reasonsDocument());
