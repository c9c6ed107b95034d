/** Wrong uses that TypeScript must refuse: each `@ts-expect-error` fails the type check where there is no error. Never runs. */
import { array, be32, BpfMap, hashMap, type Int, perCpuArray, struct, u32, u64, u8, XDP, xdp } from 'seawall/ebpf';

const Entry = struct('entry', { count: u64, address: be32, small: u8, pad: array(u8, 3) });
const entries = hashMap('entries', { key: be32, value: Entry, maxEntries: 1 });
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
  // @ts-expect-error no such helper
  $.call('no_such_helper');
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
  return flag ? XDP.PASS : XDP.DROP;
});

// @ts-expect-error a path falls off the end
xdp('falls_off', ($) => {
  $.if($.randomU32().eq(1), () => XDP.DROP);
});

// @ts-expect-error a number of 64 bits is no verdict
xdp('wide_verdict', ($) => $.u64(2));

export function userSpace(map: BpfMap<typeof be32, typeof Entry, false>): void {
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
