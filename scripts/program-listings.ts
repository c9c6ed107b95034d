/** Documents that show whole programs of the examples. */
export const documentsWithPrograms = ['docs/ebpf.md', 'docs/ebpf-cookbook.md'] as const;

/** A place for a program, `<!-- examples/name.ts -->`, and the listing behind it where there is one already. */
const PLACE = /^<!-- (examples\/\S+\.ts) -->\n(?:```ts\n[\s\S]*?^```\n)?/gm;

/** The document with each program as `read` gives it. */
export function withPrograms(document: string, read: (path: string) => string): string {
  return document.replaceAll(PLACE, (_, path: string) => `<!-- ${path} -->\n\`\`\`ts\n${read(path)}\`\`\`\n`);
}
