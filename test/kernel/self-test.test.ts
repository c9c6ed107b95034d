import { expect, it } from 'vitest';
import { protection } from '../../src/dataplane/pipeline.ts';
import { KernelMaps } from '../../src/engine/kernel-maps.ts';
import { selfTest } from '../../src/engine/self-test.ts';
import { Program } from '../../src/ebpf/index.ts';
import { resolvePolicy } from '../../src/policy/policy.ts';
import { describeAsRoot } from '../support/as-root.ts';

describeAsRoot('the self-test', () => {
  it.each([
    ['a policy in force, Ethernet', false, 'ethernet'],
    ['a dry run, Ethernet', true, 'ethernet'],
    ['a policy in force, without a link header', false, 'ip'],
  ] as const)('tells which counters it raised: %s', (_what, dryRun, link) => {
    const policy = resolvePolicy({ 'dry-run': dryRun, challenge: { mode: 'off' } });
    const made = protection(policy, { link });
    using maps = KernelMaps.create(made.maps, policy);
    using program = Program.load(made.program, { maps: maps.all });
    const told = new Map<number, bigint>();
    selfTest(program, made, (counter) => told.set(counter, (told.get(counter) ?? 0n) + 1n));
    const counted = [...maps.get(made.maps.counters).entries()].map(
      ([index, perCpu]) => [index, perCpu.reduce((sum, count) => sum + count, 0n)] as const,
    );
    expect(new Map(counted.filter(([, count]) => count > 0n))).toEqual(told);
  });
});
