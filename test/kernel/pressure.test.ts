/** How long a service goes on to challenge every SYN. */
import { beforeAll, expect, it } from 'vitest';
import { DEFAULT_STACK } from '../../src/dataplane/cookie/challenger.ts';
import type { ReasonName } from '../../src/dataplane/outcome/reason.ts';
import { pinToCpu } from '../../src/ebpf/index.ts';
import { ethernet, frame, ipv4, tcp } from '../../src/net/build.ts';
import { LINUX_SYN_OPTIONS } from '../../src/net/tcp-options.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { ProgramUnderTest } from '../support/program-under-test.ts';

const SECOND = 1_000_000_000n;
const RATE = 20;

describeAsRoot('a service under pressure', () => {
  // A service's tokens are handed to CPUs.
  beforeAll(() => {
    pinToCpu(0);
  });

  it.each<[string, number, ReasonName]>([
    ['more than half its rate', 0.75, 'challenged'],
    ['less than half its rate', 0.4, 'within-limit'],
  ])('challenges while %s comes', (_what, share, expected) => {
    using kernel = new ProgramUnderTest(
      {
        challenge: { mode: 'auto' },
        limits: { source: false, prefixes: [], service: { rate: `${String(RATE)}/s`, burst: RATE } },
      },
      { form: 'reset', stack: DEFAULT_STACK },
    );
    let now = 86_400n * SECOND;
    let sent = 0;
    const send = (): ReasonName => {
      const src = `10.1.${String(sent >> 8)}.${String(sent++ & 255)}`;
      return kernel.at(now).judge(frame([ethernet(), ipv4({ src }), tcp({ options: LINUX_SYN_OPTIONS })])).reason;
    };
    const flood = Array.from({ length: 2 * RATE }, send);
    expect([flood[0], flood.at(-1)]).toEqual(['within-limit', 'challenged']);
    const gap = BigInt(Math.round(1e9 / (RATE * share)));
    // At two fifths of the rate the ten seconds shrink by a fifth of a second each second.
    const end = now + 60n * SECOND;
    let last: ReasonName = 'challenged';
    for (; now < end; now += gap) last = send();
    expect(last).toBe(expected);
  });
});
