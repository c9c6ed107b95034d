import { existsSync } from 'node:fs';
import { expect, it } from 'vitest';
import { describeAsRoot } from '../support/as-root.ts';
import { Running, seawall } from '../support/cli.ts';

describeAsRoot('demo', () => {
  it('shows the whole story, in JSON, and removes everything', () => {
    const { status, stdout, stderr } = seawall('demo', '--seconds', '1', '--rate', '100000', '--json');
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(JSON.parse(stdout)).toMatchObject({
      flood: { offeredPps: expect.any(Number), sources: 'one', seconds: 1 },
      quiet: { legit: { succeeded: 50 }, office: { succeeded: 50 } },
      unprotected: { legit: { attempted: 50 } },
      protected: {
        legit: {
          attempted: 50,
          succeeded: 50,
          successRate: 1,
          connectMsP50: expect.any(Number),
          connectMsP99: expect.any(Number),
        },
        verdicts: { pass: expect.any(Number), drop: expect.any(Number), answer: expect.any(Number) },
        nsPerPacket: expect.any(Number),
      },
    });
    const { verdicts } = (JSON.parse(stdout) as { protected: { verdicts: { drop: number; answer: number } } })
      .protected;
    expect(verdicts.drop + verdicts.answer).toBeGreaterThan(1000);
    expect(existsSync('/run/netns/seawall-demo-client')).toBe(false);
  });

  it('removes everything when it is stopped on the way', async () => {
    await using run = Running.seawall('demo', '--seconds', '60', '--rate', '1000');
    await run.until(/> quiet/);
    expect(await run.stop('SIGINT')).not.toBe(0);
    expect(run.output.trim().split('\n').at(-1)).toBe('seawall: demo stopped; the lab is removed');
    expect(existsSync('/run/netns/seawall-demo-client')).toBe(false);
  });
});
