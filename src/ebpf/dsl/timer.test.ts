import { expect, it } from 'vitest';
import { expectRefusal } from '../../../test/support/refusal.ts';
import {
  arrayMap,
  hashMap,
  lruHash,
  perCpuArray,
  struct,
  timer,
  u32,
  u64,
  XDP,
  xdp,
  type XdpBuilder,
} from '../language.ts';

const Session = struct('session', { timer, fired: u64 });
const Plain = struct('plain', { fired: u64 });
const one = arrayMap('one', { value: Session, maxEntries: 1 });
const sessions = hashMap('sessions', { key: u32, value: Session, maxEntries: 1 });

/** What is written wrongly, the words of the reason, the program. */
const MISTAKES: readonly (readonly [string, RegExp, ($: XdpBuilder) => void])[] = [
  [
    'with a value from outside',
    /use value: it belongs to another program or function/,
    ($) => {
      const outside = $.at(one, 0);
      $.startTimer(one, outside, 1, () => {
        outside.ref('fired').add(1);
      });
    },
  ],
  [
    'of another map',
    /start the timer of one\.timer: the value is one of one, and sessions was given/,
    ($) => {
      $.startTimer(sessions, $.at(one, 0), 1, () => {});
    },
  ],
  [
    'in no map',
    /restart the timer of session: it lies in no map/,
    ($) => {
      $.restartTimer($.stack(Session), 1);
    },
  ],
  [
    'that is none',
    /cancel the timer of plain: it has no field that is a timer/,
    ($) => {
      $.cancelTimer($.at(arrayMap('plain', { value: Plain, maxEntries: 1 }), 0) as never);
    },
  ],
];

it.each(MISTAKES)('refuses a timer %s, at the line of the author', (_what, reason, body) => {
  expectRefusal(
    () => {
      xdp('mistake', ($) => {
        body($);
        return XDP.PASS;
      });
    },
    reason,
    import.meta.filename,
  );
});

it('refuses timers where the kernel takes none', () => {
  expect(() => perCpuArray('m', { value: Session, maxEntries: 1 })).toThrow(
    /timer is a timer, which values of array, hash, LRU hash maps alone can have/,
  );
  expect(lruHash('m', { key: u32, value: Session, maxEntries: 1 }).kind).toBe('LRU hash');
});
