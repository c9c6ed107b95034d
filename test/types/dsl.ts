/** Wrong uses that TypeScript must refuse: each `@ts-expect-error` fails the type check where there is no error. Never runs. */
import {
  array,
  arrayMap,
  arrayOfMaps,
  be32,
  BpfMap,
  deviceMap,
  enumOf,
  type EnumValue,
  func,
  hashMap,
  type Int,
  LOOP,
  lpmTrie,
  type Network,
  perCpuArray,
  type Program,
  programArray,
  ringBuffer,
  spinLock,
  struct,
  timer,
  u32,
  u64,
  u8,
  XDP,
  xdp,
  TC,
  tc,
} from 'seawall/ebpf';

const Entry = struct('entry', { count: u64, address: be32, small: u8, pad: array(u8, 3) });
const entries = hashMap('entries', { key: be32, value: Entry, maxEntries: 1 });
const Listed = enumOf('listed', { NO: 0, DENY: 2 });
const Metered = enumOf('metered', { NO: 0, OVER: 2 });
const counters = perCpuArray('counters', { value: u64, maxEntries: 1 });

xdp('types', ($, packet) => {
  const found = $.lookup(entries, 1);
  // @ts-expect-error a Maybe has no fields
  void found.count;
  const entry = found.orExit(XDP.PASS);
  // @ts-expect-error widths do not mix
  entry.count.add($.u32(1));
  // @ts-expect-error network order has no arithmetic
  entry.address.add(1);
  entry.address.host().add(1);
  // @ts-expect-error network and host order do not compare
  entry.address.eq($.u32(1));
  // @ts-expect-error no such field
  entry.set({ missing: 1 });
  // @ts-expect-error 8 bits are not 64
  entry.set({ count: entry.small });
  // @ts-expect-error signed comparison needs 32 or 64 bits
  entry.small.slt(1);
  // @ts-expect-error a condition is no boolean
  const flag: boolean = entry.count.eq(1);
  // @ts-expect-error a block leaves with a verdict or falls through
  $.if(entry.count.eq(2), () => 'drop');
  // @ts-expect-error a choice between two widths
  $.select(entry.count.eq(1), entry.small, entry.count);
  // @ts-expect-error network order has no arithmetic, in memory neither
  entry.ref('address').add(1);
  // @ts-expect-error nor between CPUs
  entry.ref('address').atomicAdd(1);
  // @ts-expect-error nor with what was before
  entry.ref('address').fetchAdd(1);
  entry.ref('address').atomicOr(1);
  entry.ref('count').atomicAdd(1);
  // @ts-expect-error no such helper
  $.call('no_such_helper');
  // @ts-expect-error only traffic control knows the whole length
  packet.totalLength();
  // @ts-expect-error an XDP frame is read in place
  packet.pull(20);
  // @ts-expect-error an argument is missing
  $.call('xdp_adjust_head', packet);
  // @ts-expect-error the key is a number, not a struct
  $.lookup(entries, { key: 1 });
  // @ts-expect-error an inline's blocks return its value, not a verdict
  $.inline(32, (out) => out.if(entry.count.eq(3), () => XDP.DROP));
  // @ts-expect-error a path of the inline falls off the end
  $.inline(32, (out) => {
    out.if(entry.count.eq(3), () => 1);
  });
  // @ts-expect-error a number of the record is missing
  $.inline({ reason: 32, size: 64 }, () => ({ reason: 1 }));
  // @ts-expect-error 8 bits are not 32
  $.inline(32, () => entry.small);
  const inlined: Int<64> = $.inline({ reason: 32, size: 64 }, (out) => {
    $.if(entry.count.eq(3), () => XDP.DROP);
    out.if(entry.count.eq(4), () => ({ reason: 1, size: entry.count }));
    packet.take(Entry).orExit(() => out.leave({ reason: 2, size: 0 }));
    return { reason: $.u32(0), size: 1n };
  }).size;
  void inlined;
  const cond = $.true;
  const chosen: Int<64> = $.when(
    cond,
    () => entry.count,
    () => $.let(entry.count),
  );
  const variable = $.let(chosen);
  const snapshot = $.when(
    cond,
    () => variable,
    () => chosen,
  );
  // @ts-expect-error what a variable gave is no variable
  snapshot.set(1);
  const wide = (): Int<64> => entry.count;
  // @ts-expect-error 64 bits and 8
  $.when(cond, wide, () => entry.small);
  // @ts-expect-error a record on one side
  $.when(cond, () => ({ a: entry.count }), wide);
  const listed: EnumValue<'listed'> = $.inline(Listed, (out) => {
    out.if(entry.count.eq(3), () => Listed.DENY);
    // @ts-expect-error a member of another enum
    out.if(entry.count.eq(4), () => Metered.OVER);
    return Listed.NO;
  });
  // @ts-expect-error a member of another enum, though its number is the same
  $.if(listed.eq(Metered.NO), () => XDP.DROP);
  // @ts-expect-error a number
  $.if(listed.eq(2), () => XDP.DROP);
  // @ts-expect-error no such member
  void Listed.ALLOW;
  // @ts-expect-error a variable of another enum
  $.let(Metered.NO).set(listed);
  const judge = func('judge', [Listed, 32], Listed, (inner, found, number) => {
    // @ts-expect-error a member of another enum
    inner.if(number.eq(1), () => Metered.OVER);
    return found;
  });
  const judged: EnumValue<'listed'> = $.invoke(judge, Listed.NO, 1);
  $.invoke(judge, judged, entry.count.u32());
  // @ts-expect-error a number
  $.invoke(judge, 1, 1);
  // @ts-expect-error a value of another enum
  $.invoke(judge, Metered.of($.u32(0)), 1);
  const metered = (): EnumValue<'metered'> => Metered.of($.u32(0));
  // @ts-expect-error values of two enums
  $.when(cond, () => Listed.NO, metered);
  const { address, pad } = entry.read();
  // @ts-expect-error network order has no arithmetic
  address.add(pad[0]!);
  return flag ? XDP.PASS : XDP.DROP;
});

xdp('callbacks', ($) => {
  const Sum = struct('sum', { total: u64 });
  const rounds: Int<64> = $.repeat($.randomU32(), $.stack(Sum), (inner, round, state) => {
    inner.if(round.eq(1), () => LOOP.BREAK);
    // @ts-expect-error a verdict ends no round
    inner.if(round.eq(2), () => XDP.DROP);
    // @ts-expect-error 32 bits are not 64
    state.ref('total').add(round);
    state.ref('total').add(round.u64());
  });
  $.repeat(3, (_inner, round) => {
    void round.add(1);
    return LOOP.CONTINUE;
  });
  $.forEach(entries, $.stack(Sum), (inner, { key, value }, state) => {
    inner.if(key.eq(1), () => LOOP.BREAK);
    state.ref('total').add(value.count);
    // @ts-expect-error network order has no arithmetic
    key.add(1);
    // @ts-expect-error a verdict ends no round
    inner.if(value.small.eq(2), () => XDP.DROP);
  });
  // @ts-expect-error a ring buffer has no entries
  $.forEach(ringBuffer('events', { size: 4096 }), () => {});
  // @ts-expect-error without state there is none
  $.repeat(3, (_inner, _round, state) => void state);
  // @ts-expect-error 64 bits are too many
  $.repeat(rounds, () => {});
  return XDP.PASS;
});

const Account = struct('account', { sum: u64, lock: spinLock, pad: u32 });
const accounts = arrayMap('accounts', { value: Account, maxEntries: 1 });
xdp('locks', ($) => {
  const account = $.at(accounts, 0);
  $.lock(account, () => {
    account.ref('sum').add(1);
  });
  // @ts-expect-error it has no lock
  $.lock($.at(single, 0), () => {});
  // @ts-expect-error the kernel alone reads a lock
  void account.lock;
  // @ts-expect-error and writes it
  account.set({ lock: 1 });
  $.update(accounts, 0, { sum: 1 });
  return XDP.PASS;
});

const Session = struct('session', { timer, fired: u64 });
const sessions = hashMap('sessions', { key: be32, value: Session, maxEntries: 1 });
xdp('timers', ($) => {
  const session = $.lookup(sessions, 1).orExit(XDP.PASS);
  $.startTimer(sessions, session, 1, (inner, { key, value }) => {
    value.ref('fired').add(1);
    // @ts-expect-error network order has no arithmetic
    key.add(1);
    // @ts-expect-error a verdict ends no timer
    inner.if(value.fired.eq(1), () => XDP.DROP);
    inner.if(value.fired.eq(2), () => 0);
  });
  // @ts-expect-error it has no timer
  $.restartTimer($.at(single, 0), 1);
  // @ts-expect-error a lock is no timer
  $.cancelTimer($.at(accounts, 0));
  // @ts-expect-error a map of other values
  $.startTimer(entries, session, 1, () => {});
  return XDP.PASS;
});

export function lockedValues(map: BpfMap<typeof u32, typeof Account, 'array'>): void {
  map.update(0, { sum: 1n, pad: 0 });
  const sum: bigint | undefined = map.lookup(0)?.sum;
  // @ts-expect-error a lock has no value
  void [sum, map.lookup(0)?.lock];
}

// @ts-expect-error a step is no verdict
xdp('step', () => LOOP.BREAK);

// @ts-expect-error a path falls off the end
xdp('falls_off', ($) => {
  $.if($.randomU32().eq(1), () => XDP.DROP);
});

// @ts-expect-error a number of 64 bits is no verdict
xdp('wide_verdict', ($) => $.u64(2));

const single = arrayMap('single', { value: Entry, maxEntries: 1 });
const programs = programArray('programs', { maxEntries: 1 });
const maps = arrayOfMaps('maps', { inner: entries, maxEntries: 1 });
const arrays = arrayOfMaps('arrays', { inner: single, maxEntries: 1 });
// @ts-expect-error a map of maps is in no other
arrayOfMaps('nested', { inner: maps, maxEntries: 1 });
const ring = ringBuffer('ring', { size: 4096 });
// @ts-expect-error the key of an LPM trie is a struct
lpmTrie('trie', { key: u32, value: u32, maxEntries: 1 });

xdp('map_kinds', ($, packet) => {
  void $.at(single, 0).count;
  const found = $.lookup(maps, 0).orExit(XDP.PASS);
  const address: Network<32> = $.lookup(found, 1).orExit(XDP.PASS).address;
  void address;
  $.update(found, 1, { count: 1 });
  // @ts-expect-error the key of the inner map is a number
  $.lookup(found, { key: 1 });
  // @ts-expect-error user space puts maps in
  $.update(maps, 0, 1);
  // @ts-expect-error which array it is comes out when the program runs
  $.at($.lookup(arrays, 0).orExit(XDP.PASS), 0);
  // @ts-expect-error the values of a hash have no fixed place
  $.at(entries, 0);
  // @ts-expect-error each CPU has its own place
  $.at(counters, 0);
  // @ts-expect-error a ring buffer has no values to look up
  $.lookup(ring, 0);
  // @ts-expect-error programs are called, not looked up
  $.lookup(programs, 0);
  // @ts-expect-error user space puts programs in
  $.update(programs, 0, 1);
  // @ts-expect-error elements of an array stay
  $.delete(single, 0);
  // @ts-expect-error a hash takes no records
  $.record(entries, Entry, () => {});
  // @ts-expect-error an array of numbers is no array of programs
  $.tailCall(single, packet, 0);
  // @ts-expect-error nor for the helper's name
  $.call('tail_call', packet, single, 0);
  return XDP.PASS;
});

export function userSpaceKinds(program: Program, map: BpfMap): void {
  program.map(programs).update(0, program);
  // @ts-expect-error a descriptor's number is no program
  program.map(programs).update(0, program.fd);
  // @ts-expect-error a map is no program
  program.map(programs).update(0, map);
  program.map(maps).update(0, program.map(entries));
  // @ts-expect-error a map of another shape
  program.map(maps).update(0, program.map(single));
  // @ts-expect-error a descriptor's number is no map
  program.map(maps).update(0, program.fd);
  // @ts-expect-error a RingBuffer reads its records
  program.map(ring).lookup(0);
  // @ts-expect-error elements of an array stay
  program.map(single).delete(0);
}

export function userSpace(map: BpfMap<typeof be32, typeof Entry, 'hash'>): void {
  const value = map.lookup(1);
  const count: bigint | undefined = value?.count;
  // @ts-expect-error 64-bit numbers are bigint
  const wrong: number | undefined = value?.count;
  // @ts-expect-error fields are missing
  map.update(1, { count: 1n });
  using perCpu = BpfMap.create(counters);
  const values: readonly bigint[] | undefined = perCpu.lookup(0);
  // @ts-expect-error one value a CPU
  perCpu.update(0, 1n);
  void [count, wrong, values, struct('x', { a: u32 })];
}

tc('traffic_control', ($, packet) => {
  // @ts-expect-error only XDP moves the start of a frame
  packet.adjustHead(-4);
  // @ts-expect-error only XDP cuts its end
  packet.adjustTail(-4);
  // @ts-expect-error the buffer tells another number
  packet.receiveQueue();
  $.if(packet.totalLength().eq(0), () => TC.REDIRECT);
  return $.u32(2);
});

const devices = deviceMap('devices', { maxEntries: 1 });
xdp('redirects', ($) => {
  // @ts-expect-error what happens where there is nothing under the key?
  $.redirect(devices, 0);
  // @ts-expect-error a hash has no devices
  $.redirect(entries, 0, XDP.PASS);
  // @ts-expect-error the verdict of another kind of program
  $.redirect(devices, 0, TC.OK);
  // @ts-expect-error only traffic control can
  $.redirect(1, { ingress: true });
  // @ts-expect-error interfaces have numbers in the kernel
  $.redirect('eth0');
  // @ts-expect-error nor for the helper's name
  $.call('redirect_map', entries, 0, 0);
  return $.redirect(devices, $.randomU32(), XDP.PASS);
});
tc('redirects', ($) => {
  // @ts-expect-error only XDP redirects by maps
  $.redirect(devices, 0, XDP.PASS);
  return $.redirect(1, { ingress: true });
});
xdp('frags', () => XDP.PASS, { frags: true });
// @ts-expect-error the packets of traffic control are of several buffers anyway
tc('frags', () => TC.OK, { frags: true });
// @ts-expect-error an action made by hand
xdp('by_hand', () => ({ kind: 'XDP', name: 'DROP', code: 7 }));
// @ts-expect-error an action of another kind of program
xdp('other_kind', () => TC.OK);
// @ts-expect-error an action of another kind of program
tc('other_kind', () => XDP.PASS);
