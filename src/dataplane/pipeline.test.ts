import { expect, it } from 'vitest';
import { compile, xdp } from '../ebpf/language.ts';
import { resolvePolicy } from '../policy/policy.ts';
import { Context, handOver } from './context.ts';
import { Exits } from './outcome/exits.ts';
import { numbered, reasons } from './outcome/reason.ts';
import { SMALL_LISTS } from './maps.ts';
import { parseLink } from './frame/link.ts';
import { parseSegment } from './frame/parse.ts';
import { protectionMaps } from './pipeline.ts';
import { parse } from './stages/parse.ts';
import { kernelClock } from './state/clock.ts';

const reason = (name: string, number: number) => ({ name, number, verdict: 'drop', description: '' }) as const;

it('keeps the numbers that reasons have had since counters are pinned', () => {
  const numbers = Object.fromEntries(reasons.map(({ name, number }) => [name, number]));
  expect(numbers).toMatchObject({ 'not-ip': 0, challenged: 8, denied: 18, 'syn-fin': 19, mirai: 33, 'no-answer': 39 });
  expect(reasons).toHaveLength(44);
});

it('takes gaps between numbers, and refuses one that is taken, retired or out of range', () => {
  expect(numbered([reason('b', 7), reason('a', 2)]).map(({ name }) => name)).toEqual(['a', 'b']);
  expect(() => numbered([reason('a', 2), reason('b', 2)])).toThrow('reasons a and b both have number 2');
  expect(() => numbered([reason('a', 2)], [2])).toThrow('retired number 2');
  expect(() => numbered([reason('a', 64)])).toThrow('not 0 to 63');
});

it('refuses a stage that reads what no stage before it gave', () => {
  const policy = resolvePolicy();
  const maps = protectionMaps(policy, SMALL_LISTS);
  const build = () =>
    compile(
      xdp('out_of_order', ($, packet) => {
        const exits = new Exits($, maps, false, false);
        const leave = (name: keyof typeof parse.reasons) => exits.leave(parse.reasons[name]);
        const link = parseLink($, packet, leave, 'ethernet');
        const rules = { fragments: policy.fragments, lengths: 'check' } as const;
        const segment = parseSegment($, packet, 4, link, leave, rules);
        const given = { policy, maps, exits, clock: kernelClock, challenger: undefined, connections: undefined };
        new Context($, packet, segment, given).take(handOver('the moon'));
        return leave('not-ip');
      }),
    );
  expect(build).toThrow('no stage before this one gives the moon');
});
