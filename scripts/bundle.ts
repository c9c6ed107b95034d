/**
 * Bundles the verbs of the product into a few files, `dist/src/cli/bundle`, after TypeScript has compiled everything. The toolkit's code
 * lies in a folder of its own there, by which it is told from the code of those who write programs with it.
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { rolldown, type RolldownPlugin } from 'rolldown';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const OUT = `${ROOT}dist/src/cli/bundle`;

/** Modules whose functions give the same for as long as a build lasts: they are called once, now. */
const SETTLED = ['src/cli/version', 'src/engine/build-id'];

const settle: RolldownPlugin = {
  name: 'settle',
  async load(id) {
    const name = SETTLED.find((one) => id === `${ROOT}${one}.ts`);
    if (name === undefined) return null;
    const values = (await import(`${ROOT}dist/${name}.js`)) as Record<string, () => string>;
    return Object.entries(values)
      .map(([key, value]) => `export const ${key} = () => ${JSON.stringify(value())};`)
      .join('\n');
  },
};

rmSync(OUT, { recursive: true, force: true });
const bundle = await rolldown({
  cwd: ROOT,
  input: { 'command-line': 'src/cli/command-line.ts', 'compile-worker': 'src/engine/compile-worker.ts' },
  platform: 'node',
  external: ['koffi'], // a binary
  transform: { target: 'es2022' },
  plugins: [settle],
  checks: { ineffectiveDynamicImport: false }, // one file holds all verbs
});
const { output } = await bundle.write({
  dir: OUT,
  sourcemap: true,
  // White space is a third of the code, and Node reads every byte of it.
  minify: { compress: false, mangle: false, codegen: { removeWhitespace: true } },
  // Each file costs a look-up.
  codeSplitting: {
    groups: [
      { name: 'toolkit/toolkit', test: /\/src\/ebpf\//, priority: 3 },
      { name: 'packages', test: /\/node_modules\//, priority: 2 },
      { name: 'seawall', test: /\/src\/(?!engine\/compile-worker)/, priority: 1 },
    ],
  },
});

// What is bundled of others is passed on with its notice.
const packages = output
  .flatMap((chunk) => ('moduleIds' in chunk ? chunk.moduleIds : []))
  .flatMap((id) => {
    const [, name] = /\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(id) ?? [];
    return name === undefined ? [] : [name];
  });
const notices = [...new Set(packages)].toSorted().map((name) => {
  const directory = `${ROOT}node_modules/${name}`;
  const file = readdirSync(directory).find((one) => /^licen[cs]e/i.test(one));
  if (file === undefined) throw new Error(`bundle ${name}: it has no file with its licence`);
  return `${name}\n\n${readFileSync(`${directory}/${file}`, 'utf8').trim()}\n`;
});
writeFileSync(`${OUT}/LICENSES`, notices.join('\n'));
