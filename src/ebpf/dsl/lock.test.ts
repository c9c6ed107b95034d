import { expect, it } from 'vitest';
import { expectRefusal } from '../../../test/support/refusal.ts';
import {
  array,
  arrayMap,
  func,
  hashMap,
  lruHash,
  perCpuArray,
  spinLock,
  struct,
  u32,
  u64,
  XDP,
  xdp,
  type XdpBuilder,
} from '../language.ts';

const Account = struct('account', { sum: u64, lock: spinLock, pad: u32 });
const Plain = struct('plain', { sum: u64 });
const accounts = hashMap('accounts', { key: u32, value: Account, maxEntries: 1 });
const others = arrayMap('others', { value: Account, maxEntries: 1 });
const one = func('one', [], 32, () => 1);

/** What is written wrongly, the words of the reason, the program. */
const MISTAKES: readonly (readonly [string, RegExp, ($: XdpBuilder) => void])[] = [
  [
    'a helper',
    /ktime_get_ns: nothing can be called while a value of others is locked; call before or after/,
    ($) => {
      $.lock($.at(others, 0), () => $.ktimeGetNs());
    },
  ],
  [
    'a look-up',
    /look up accounts: nothing can be called while/,
    ($) => {
      $.lock($.at(others, 0), () => $.lookup(accounts, 1));
    },
  ],
  [
    'a function',
    /one: nothing can be called while/,
    ($) => {
      $.lock($.at(others, 0), () => $.invoke(one));
    },
  ],
  [
    'a verdict',
    /leave with a lock: .* before the lock of others is released; carry the outcome out with \$\.let/,
    ($) => {
      const account = $.at(others, 0);
      $.lock(account, () => {
        $.if(account.sum.eq(1), () => XDP.DROP);
      });
    },
  ],
  [
    'the end of a loop around it',
    /leave with a lock/,
    ($) => {
      const account = $.at(others, 0);
      $.loop(2, (_round, loop) => {
        $.lock(account, () => {
          loop.breakIf(account.sum.eq(1));
        });
      });
    },
  ],
  [
    'another lock',
    /lock a value of accounts: one of others is locked already, and a program holds one lock at a time/,
    ($) => {
      const account = $.lookup(accounts, 1).orExit(XDP.PASS);
      $.lock($.at(others, 0), () => {
        $.lock(account, () => {});
      });
    },
  ],
  [
    'the lock of memory that is in no map',
    /lock account: it lies in no map; give the value that a look-up/,
    ($) => {
      $.lock($.stack(Account), () => {});
    },
  ],
  [
    'the lock of a value without one',
    /lock plain: it has no field that is a spinLock/,
    ($) => {
      $.lock($.at(arrayMap('plain', { value: Plain, maxEntries: 1 }), 0) as never, () => {});
    },
  ],
  [
    'what lies in a lock',
    /read others\.lock: the kernel alone reads and writes it/,
    ($) => {
      void ($.at(others, 0) as unknown as { lock: unknown }).lock;
    },
  ],
  [
    'a value for a lock',
    /set others\.lock: the kernel alone reads and writes it/,
    ($) => {
      $.at(others, 0).set({ lock: 1 } as never);
    },
  ],
];

it.each(MISTAKES)('refuses %s while locked, or to lock, at the line of the author', (_what, reason, body) => {
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

it('refuses locks where the kernel takes none', () => {
  const twice = struct('twice', { one: spinLock, two: spinLock });
  const nested = struct('nested', { of: Account });
  const listed = struct('listed', { all: array(spinLock, 2) });
  const mistakes = [
    [() => arrayMap('m', { value: twice, maxEntries: 1 }), /a value has one spinLock; two is another/],
    [() => arrayMap('m', { value: nested, maxEntries: 1 }), /a field of the value itself, not of a part/],
    [() => arrayMap('m', { value: listed, maxEntries: 1 }), /a field of the value itself, not of a part/],
    [() => arrayMap('m', { value: spinLock, maxEntries: 1 }), /a field of the value itself, not of a part/],
    [
      () => hashMap('m', { key: Account, value: u32, maxEntries: 1 }),
      /locks and timers belong into the value, not the key/,
    ],
    [
      () => lruHash('m', { key: u32, value: Account, maxEntries: 1 }),
      /which values of array, hash maps alone can have/,
    ],
    [() => perCpuArray('m', { value: Account, maxEntries: 1 }), /which values of array, hash maps alone/],
  ] as const;
  for (const [define, reason] of mistakes) expect(define).toThrow(reason);
});
