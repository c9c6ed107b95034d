import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { readLists } from '../engine/lists/lists.ts';
import { policyOf } from './policy-options.ts';

const directory = mkdtempSync(join(tmpdir(), 'seawall-policy-'));
const config = join(directory, 'policy.toml');
afterAll(() => {
  rmSync(directory, { recursive: true });
});

it.each([
  ['given by its whole path', config],
  ['given by a path from here', relative(process.cwd(), config)],
])('finds list files beside a policy %s', (_what, given) => {
  writeFileSync(join(directory, 'allow.txt'), '10.1.0.0/16\n');
  writeFileSync(join(directory, 'deny.txt'), '10.2.0.0/16\n10.3.0.0/16\n');
  writeFileSync(config, `[lists]\nallow-files = ["allow.txt"]\ndeny-files = ["./deny.txt", "${directory}/deny.txt"]\n`);
  const { policy } = policyOf({ config: given });
  expect(policy.lists.denyFiles[1]).toBe(join(directory, 'deny.txt'));
  const { allow, deny } = readLists(policy);
  expect([allow.v4.length, deny.v4.length]).toEqual([1, 4]);
});
