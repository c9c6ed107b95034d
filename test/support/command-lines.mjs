/** Runs command lines in this process, as `main.js` does: `node command-lines.mjs '[["run", "--help"], ...]'` prints what came of each. */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const { load } = await import(new URL('../../dist/src/cli/command-line.js', import.meta.url).href);
const print = fs.writeSync;
const lines = JSON.parse(process.argv[2]);
let printed;
fs.writeSync = (descriptor, data, ...rest) => {
  if (descriptor !== 1 && descriptor !== 2) return print(descriptor, data, ...rest);
  printed[descriptor] += data.toString();
  return data.length;
};
syncBuiltinESMExports();
const results = [];
for (const words of lines) {
  printed = ['', '', ''];
  process.argv = [...process.argv.slice(0, 2), ...words];
  process.exitCode = 0;
  await (
    await load()
  )();
  process.removeAllListeners('unhandledRejection');
  results.push({ status: process.exitCode, stdout: printed[1], stderr: printed[2] });
}
process.exitCode = 0;
print(1, JSON.stringify(results));
