import { Command } from 'commander';
import { type Checked, checkPolicy } from '../tools/check.ts';
import { printable } from '../net/quote.ts';
import { guardAgainstLockOut } from '../engine/lock-out.ts';
import { requireRoot } from './exit-status.ts';
import { print } from './output.ts';
import { policyOf } from './policy-options.ts';

interface CheckOptions {
  readonly asm?: boolean;
  readonly verifier?: boolean;
  readonly json?: boolean;
  readonly allowLockOut?: boolean;
}

const size = (bytes: number): string =>
  bytes >= 1 << 20 ? `${(bytes / (1 << 20)).toFixed(1)} MiB` : `${(bytes / 1024).toFixed(1)} KiB`;

function text({ programs, maps, challenge, notes, features, falseLimit }: Checked): string {
  const lines: string[] = [];
  for (const { name, instructions, verified, stages } of programs) {
    lines.push(
      `program ${name}: ${instructions.toLocaleString('en')} instructions, ${verified.toLocaleString('en')} walked by the verifier (of 1,000,000 allowed)`,
    );
    for (const stage of stages) {
      const walked = stage.verified === undefined ? '' : stage.verified.toLocaleString('en').padStart(10);
      lines.push(`  ${stage.name.padEnd(16)} ${stage.instructions.toLocaleString('en').padStart(6)}${walked}`);
    }
  }
  const total = maps.reduce((sum, { bytes }) => sum + bytes, 0);
  lines.push(`maps: ${size(total)} in all`);
  for (const { name, bytes } of maps) lines.push(`  ${name.padEnd(16)} ${size(bytes).padStart(10)}`);
  lines.push(challenge);
  for (const { name, available, since } of features)
    lines.push(`  ${available ? 'has' : 'lacks'} ${name} (Linux ${since})`);
  lines.push(...notes);
  lines.push('number of sources at their limit, and the probability that another source is limited too early:');
  for (const { busySources, probability } of falseLimit)
    lines.push(`  ${busySources.toLocaleString('en').padStart(12)} ${probability.toExponential(1)}`);
  return lines.join('\n');
}

function check(file: string, options: CheckOptions): void {
  const { policy, use } = policyOf({ config: file });
  const checked = use(() => {
    if (!options.allowLockOut) guardAgainstLockOut(policy);
    requireRoot('the verifier');
    return checkPolicy(policy, policy.interfaces[0], options.verifier);
  });
  const { assembly, ...rest } = checked;
  if (options.json) print(JSON.stringify({ ok: true, ...rest, ...(options.asm ? { assembly } : {}) }));
  else print([`${printable(file)} is valid`, text(checked), ...(options.asm ? [assembly] : [])].join('\n'));
}

export function checkCommand(): Command {
  return new Command('check')
    .description('read a policy, build its programs and have the kernel verify them, without attaching anything')
    .argument('<file>', 'the policy, in TOML')
    .option('--asm', 'print the instructions too')
    .option('--verifier', "also show the verifier's steps by stage, which takes half a minute")
    .option('--allow-lock-out', 'accept a policy even if it cuts off management addresses or your SSH session')
    .option('--json', 'print the result as JSON')
    .action(check);
}
