import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { describeAsRoot } from '../support/as-root.ts';

/** A script of somebody who uses the package, up to the program that the kernel refuses. */
const REFUSED = `
  import { Program, xdp, XDP } from './dist/src/ebpf/index.js';
  const refused = xdp('refused', ($, packet) => {
    $.call('skb_change_tail', packet, 1, 0);
    return XDP.PASS;
  });`;

function run(script: string): { readonly stdout: string; readonly stderr: string } {
  return spawnSync(process.execPath, ['--input-type=module', '-e', REFUSED + script], { encoding: 'utf8' });
}

/** What only who asks is shown. */
const PAGES = /processed \d+ insns|\(85\) call|dist\/src\/ebpf|node:internal/;

describeAsRoot('an error of the verifier', () => {
  it('prints its message and little else when nobody catches it', () => {
    const { stderr } = run('Program.load(refused);');
    const printed = stderr.slice(stderr.indexOf('VerifierError:'));
    expect(printed).toContain('the verifier refused it: program of this type cannot use helper');
    expect(printed).toMatch(
      /\[cause\]: \[?SyscallError: load program refused: bpf\(BPF_PROG_LOAD\) failed with EINVAL/,
    );
    expect(printed).not.toMatch(PAGES);
    expect(printed.trim().split('\n').length).toBeLessThan(20);
  });

  it('prints its message alone by console.log, also as the cause of another error', () => {
    const caught = 'let error; try { Program.load(refused); } catch (refusal) { error = refusal; }';
    const { stdout } = run(`${caught} console.log(error);`);
    expect(stdout).toMatch(/^VerifierError: load program refused: .* \(instruction 2\)\n/);
    expect(stdout).not.toMatch(PAGES);
    expect(stdout).not.toContain('cause');
    expect(run(`${caught} console.log(new Error('start', { cause: error }).cause);`).stdout).toBe(stdout);
    expect(run(`${caught} console.log(JSON.stringify(error));`).stdout).not.toMatch(PAGES);
  });

  it('tells log, reason, line and cause to who asks', () => {
    const { stdout } = run(`try { Program.load(refused); } catch ({ code, log, reason, location, cause }) {
      console.log(JSON.stringify({ code, log, reason, location, errno: cause.errno }));
    }`);
    expect(JSON.parse(stdout)).toMatchObject({
      code: 'VERIFIER',
      log: expect.stringContaining('processed') as string,
      reason: expect.stringContaining('program of this type cannot use helper') as string,
      errno: 'EINVAL',
    });
  });
});
