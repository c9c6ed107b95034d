import { expect, it } from 'vitest';
import { LINKTYPE_ETHERNET } from '../../src/net/capture.ts';
import { resolvePolicy } from '../../src/policy/policy.ts';
import { Replay } from '../../src/tools/replay.ts';
import { describeAsRoot } from '../support/as-root.ts';

describeAsRoot('replay', () => {
  it('skips what the kernel cannot run', () => {
    using replay = new Replay(resolvePolicy({ challenge: { mode: 'off' } }));
    const reasons = (
      [
        ['shorter than a header', 13, 13],
        ['longer than a page holds', 100, 4000],
        ['more was captured than it says it had', 4000, 100],
      ] as const
    ).map(([, captured, length]) => {
      const packet = { time: 0n, data: Buffer.alloc(captured), length, linkType: LINKTYPE_ETHERNET };
      return replay.run(packet);
    });
    expect(reasons).toMatchObject(
      ['too-short', 'too-large', 'too-large'].map((reason) => ({ verdict: 'skipped', reason })),
    );
  });
});
