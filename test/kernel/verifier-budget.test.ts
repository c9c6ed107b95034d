import { expect, it } from 'vitest';
import { probeKernelFunction } from '../../src/ebpf/index.ts';
import { resolvePolicy } from '../../src/policy/policy.ts';
import { checkPolicy } from '../../src/tools/check.ts';
import { describeAsRoot } from '../support/as-root.ts';

describeAsRoot('the verifier', () => {
  it.runIf(probeKernelFunction('bpf_sk_assign_tcp_reqsk', '6.9').available)(
    'walks at most 60,000 instructions of the default policy, both programs together',
    () => {
      const { programs } = checkPolicy(resolvePolicy(), undefined);
      expect(programs.map(({ name }) => name)).toEqual(['seawall', 'seawall_accept']);
      expect(programs.reduce((sum, { verified }) => sum + verified, 0)).toBeLessThanOrEqual(60_000);
    },
  );
});
