/**
 * Bundles the verbs of the product into a few files, `dist/src/cli/bundle`, after TypeScript has compiled everything. The toolkit's code
 * lies in a folder of its own there, by which it is told from the code of those who write programs with it.
 */
import { rmSync } from 'node:fs';
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
await bundle.write({
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
