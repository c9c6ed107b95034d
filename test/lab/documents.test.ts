import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterAll, expect, it } from 'vitest';
import { describeAsRoot } from '../support/as-root.ts';
import { seawall } from '../support/cli.ts';

/** The shell commands of a document, in order. */
function commandsOf(path: string): string {
  const text = readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```/gm)].map((match) => match[1]).join('\n');
}

describeAsRoot('documents', () => {
  afterAll(() => {
    seawall('lab', 'down');
  });

  it('every command of the walkthrough works, and shows what the text says', () => {
    // The tree is built already, and other tests run from the same files.
    const script = commandsOf('docs/walkthrough.md').replace('npm run build\n', '');
    const { status, stdout, stderr } = spawnSync('bash', ['-e', '-u', '-o', 'pipefail', '-c', script], {
      encoding: 'utf8',
      timeout: 280_000,
    });
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(stdout.match(/^hello$/gm)).toHaveLength(5);
    expect(stdout).toMatch(/> 10\.0\.0\.10:80 SYN seq/);
    expect(stdout).toMatch(/10\.0\.0\.10:80 > 10\.0\.0\.1:\d+ SYN,ACK seq/);
    expect(stdout).toMatch(/tokens 4\/5 PASS/);
    expect(stdout).toMatch(/tokens 0\/5 DROP \(over-source\)/);
    expect(stdout).toMatch(/^passed \d+, dropped \d+, challenged 0 \(.*over-source/m);
    const sent = [...stdout.matchAll(/sent ([\d,]+) SYNs in \d s/g)].map((match) => match[1]!);
    const totals = [...stdout.matchAll(/^passed [\d,]+, dropped ([\d,]+), challenged ([\d,]+)/gm)];
    const number = (text: string): number => Number(text.replaceAll(',', ''));
    const most = (group: number): number => Math.max(...totals.map((match) => number(match[group]!)));
    expect(most(1)).toBeGreaterThan(number(sent[0]!) * 0.8);
    expect(most(2)).toBeGreaterThan(number(sent[1]!) * 0.8);
  }, 290_000);

  it('the example of the tutorial counts', () => {
    const example = new URL('../../dist/examples/count-ports.js', import.meta.url).pathname;
    expect(execFileSync(process.execPath, [example], { encoding: 'utf8' })).toBe('port 443: 3 SYNs\n');
  });
});
