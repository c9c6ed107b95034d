import { expect, it } from 'vitest';
import { EventReader, Source } from '../../src/engine/event-reader.ts';
import { ethernet, frame, ipv4, tcp } from '../../src/net/build.ts';
import { LINUX_SYN_OPTIONS } from '../../src/net/tcp-options.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { ProgramUnderTest } from '../support/program-under-test.ts';

const DAY = 86_400n * 1_000_000_000n;
const syn = (source: number): Buffer => frame([ethernet(), ipv4(), tcp({ source, options: LINUX_SYN_OPTIONS })]);

function generation(name: string): ProgramUnderTest {
  const made = new ProgramUnderTest({ challenge: { mode: 'off' }, services: [{ name }] }).at(DAY);
  made.maps.get(made.protection.maps.control).update(0, { readers: 1 });
  return made;
}
const sourceOf = ({ maps, protection }: ProgramUnderTest): Source =>
  Source.open(maps, protection.maps, protection.policy);

describeAsRoot('a reader of events', () => {
  it('reads a ring that was replaced to its end, and goes on with the next', async () => {
    using first = generation('first');
    using second = generation('second');
    using reader = new EventReader(sourceOf(first));
    const reports = reader.reports();
    const next = async (): Promise<string> => {
      const { service, sourcePort } = (await reports.next()).value!;
      return `${service!} ${String(sourcePort)}`;
    };
    first.judge(syn(1));
    expect(await next()).toBe('first 1');
    first.judge(syn(2));
    reader.follow(second.protection.policy, sourceOf(second));
    second.judge(syn(4));
    // A program that was replaced may still run on another CPU.
    first.judge(syn(3));
    expect([await next(), await next(), await next()]).toEqual(['first 2', 'first 3', 'second 4']);
    second.judge(syn(5));
    expect(await next()).toBe('second 5');
    const end = reports.next();
    reader[Symbol.dispose]();
    expect(await end).toEqual({ done: true, value: undefined });
  });
});
