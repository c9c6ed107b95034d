import { rmSync } from 'node:fs';
import { expect, it } from 'vitest';
import {
  arrayMap,
  be32,
  BPF_FILE_SYSTEM,
  BpfMap,
  bytes,
  cpuMap,
  deviceHash,
  deviceMap,
  DslError,
  hashMap,
  interfaceIndex,
  leakedDescriptors,
  lpmTrie,
  lruHash,
  lruPerCpuHash,
  perCpuArray,
  perCpuHash,
  possibleCpus,
  Program,
  programArray,
  ringBuffer,
  struct,
  SyscallError,
  u32,
  u64,
  UpdateFlag,
  xdp,
  XDP,
} from '../../src/ebpf/index.ts';
import { describeAsRoot } from '../support/as-root.ts';

const Pair = struct('pair', { a: u32, b: u32 });
const cpus = possibleCpus();

describeAsRoot('maps', () => {
  it.each([
    ['hash', hashMap('plain', { key: u32, value: Pair, maxEntries: 20_000 })],
    ['LRU hash', lruHash('recent', { key: u32, value: Pair, maxEntries: 65_536 })],
  ])('%s: writes, reads, iterates and removes, single and by batches', (_kind, spec) => {
    using map = BpfMap.create(spec);
    expect(map.lookup(1)).toBeUndefined();
    map.update(1, { a: 2, b: 3 });
    expect(map.lookup(1)).toEqual({ a: 2, b: 3 });
    expect([map.delete(1), map.delete(1)]).toEqual([true, false]);
    const entries = Array.from({ length: 10_000 }, (_, index) => [index, { a: index, b: index * 2 }] as const);
    map.updateMany(entries);
    expect([...map.entries()].toSorted(([x], [y]) => x - y)).toEqual(entries);
    map.deleteMany([...entries.slice(0, 9_000).map(([key]) => key), 1_000_000]);
    expect([...map.entries()]).toHaveLength(1_000);
  });

  it('array: every value exists, indices beyond are refused', () => {
    using map = BpfMap.create(arrayMap('table', { value: u64, maxEntries: 4 }));
    map.update(2, 7n);
    expect([...map.entries()]).toEqual([
      [0, 0n],
      [1, 0n],
      [2, 7n],
      [3, 0n],
    ]);
    expect(() => map.update(4, 1n)).toThrow(/E2BIG.*index lies beyond/s);
  });

  it.each([
    ['array', perCpuArray('cpu_array', { value: u64, maxEntries: 2 })],
    ['hash', perCpuHash('cpu_hash', { key: u32, value: u64, maxEntries: 8 })],
    ['LRU hash', lruPerCpuHash('cpu_lru', { key: u32, value: u64, maxEntries: 8 })],
  ])('per-CPU %s: holds a value for each possible CPU', (_kind, spec) => {
    using map = BpfMap.create(spec);
    const values = Array.from({ length: cpus }, (_, cpu) => BigInt(cpu + 1));
    map.updateMany([[1, values]]);
    expect(map.lookup(1)).toEqual(values);
    expect(new Map(map.entries()).get(1)).toEqual(values);
    expect(() => map.update(1, [])).toThrow(RangeError);
  });

  it.each([
    ['map', deviceMap('devices', { maxEntries: 4 })],
    ['hash', deviceHash('by_number', { maxEntries: 4 })],
  ])('device %s: holds interfaces of this network namespace', (_kind, spec) => {
    using map = BpfMap.create<typeof u32, typeof u32, 'device map' | 'device hash'>(spec);
    const loopback = interfaceIndex('lo')!;
    expect(map.lookup(2)).toBeUndefined();
    map.updateMany([[2, loopback]]);
    expect([map.lookup(2), [...map.entries()]]).toEqual([loopback, [[2, loopback]]]);
    expect(() => map.update(1, 0xffff)).toThrow(
      /EINVAL; there is no interface of this index in this network namespace/,
    );
    expect(map.delete(2)).toBe(true);
    expect([...map.entries()]).toEqual([]);
  });

  it('CPU map: holds how many frames may wait for each CPU', () => {
    using map = BpfMap.create(cpuMap('targets', { maxEntries: cpus }));
    map.update(0, 192);
    expect([...map.entries()]).toEqual([[0, 192]]);
    expect(() => map.update(0, 16_385)).toThrow(/EOVERFLOW; at most 16384 frames/);
    expect(() => map.update(cpus, 192)).toThrow(/E2BIG.*index lies beyond/);
    map.delete(0);
    expect([...map.entries()]).toEqual([]);
  });

  it('LPM trie: finds the longest prefix', () => {
    const Key = struct('prefix', { bits: u32, address: be32 });
    using map = BpfMap.create(lpmTrie('routes', { key: Key, value: u32, maxEntries: 8 }));
    map.update({ bits: 8, address: 0x0a000000 }, 1);
    map.update({ bits: 24, address: 0x0a000100 }, 2);
    expect(map.lookup({ bits: 32, address: 0x0a000105 })).toBe(2);
    expect(map.lookup({ bits: 32, address: 0x0a020304 })).toBe(1);
    expect(map.lookup({ bits: 32, address: 0x0b000000 })).toBeUndefined();
    expect([...map.entries()]).toHaveLength(2);
  });

  it('keeps to the flags of an update', () => {
    using map = BpfMap.create(hashMap('flags', { key: u32, value: u32, maxEntries: 1 }));
    map.update(1, 1, UpdateFlag.NOEXIST);
    expect(() => map.update(1, 2, UpdateFlag.NOEXIST)).toThrow(/EEXIST/);
    expect(() => map.update(2, 2, UpdateFlag.EXIST)).toThrow(/ENOENT/);
    expect(() => map.update(3, 3)).toThrow(/E2BIG.*full/);
  });

  it('refuses writes of user space once frozen', () => {
    using map = BpfMap.create(arrayMap('frozen', { value: u32, maxEntries: 1 }));
    map.freeze();
    expect(() => map.update(0, 1)).toThrow(/EPERM/);
    expect(map.lookup(0)).toBe(0);
  });

  it('is found again by pin and by number, if the shape fits', () => {
    const spec = hashMap('pinned', { key: u32, value: u32, maxEntries: 4 });
    const path = `${BPF_FILE_SYSTEM}/seawall-test-maps/map`;
    using map = BpfMap.create(spec);
    map.update(1, 10);
    map.pin(path);
    try {
      using byPin = BpfMap.openPinned(path, spec);
      using byId = BpfMap.openById(map.info.id, spec);
      expect([byPin.lookup(1), byId.lookup(1)]).toEqual([10, 10]);
      const other = hashMap('pinned', { key: u32, value: u64, maxEntries: 4 });
      expect(() => BpfMap.openPinned(path, other)).toThrow(/valueSize is 4, the spec says 8/);
    } finally {
      rmSync(`${BPF_FILE_SYSTEM}/seawall-test-maps`, { recursive: true });
    }
    expect(() => BpfMap.openPinned(path, spec)).toThrow(SyscallError);
  });

  it('shares the memory of an array with user space', () => {
    using map = BpfMap.create(arrayMap('shared', { value: u64, maxEntries: 512, mmap: true }));
    using mapping = map.mmap();
    const values = new BigUint64Array(mapping.memory);
    values[511] = 42n;
    expect(map.lookup(511)).toBe(42n);
    using plain = BpfMap.create(arrayMap('plain', { value: u64, maxEntries: 1 }));
    expect(() => plain.mmap()).toThrow(DslError);
  });

  it('says how a map looks', () => {
    using map = BpfMap.create(hashMap('described', { key: u32, value: Pair, maxEntries: 7 }));
    expect(map.info).toMatchObject({ name: 'described', keySize: 4, valueSize: 8, maxEntries: 7 });
  });

  it('goes on with another program by tail call, and falls through where there is none', () => {
    const programs = programArray('programs', { maxEntries: 2 });
    const target = xdp('target', () => XDP.TX);
    const entry = xdp('entry', ($, packet) => {
      $.tailCall(programs, packet, 1);
      return XDP.DROP;
    });
    using callee = Program.load(target);
    using caller = Program.load(entry);
    expect(caller.testRun({ data: new Uint8Array(64) }).verdict).toBe(XDP.DROP.code);
    caller.map(programs).update(1, callee);
    expect(caller.testRun({ data: new Uint8Array(64) }).verdict).toBe(XDP.TX.code);
  });

  it('refuses what a kind of map cannot do, and names the kind', () => {
    using programs = BpfMap.create(programArray('programs', { maxEntries: 1 }));
    expect(() => programs.update(0, 3 as never)).toThrow(/update programs: a program array takes a Program/);
    expect([programs.delete(0), programs.lookup(0), [...programs.entries()]]).toEqual([false, undefined, []]);
    using ring = BpfMap.create(ringBuffer('ring', { size: 4096 })) as unknown as typeof programs;
    expect(() => ring.lookup(0)).toThrow(/look up in ring: it is a ring buffer; a RingBuffer reads its records/);
    using array = BpfMap.create(arrayMap('table', { value: u32, maxEntries: 1 })) as unknown as typeof programs;
    expect(() => array.delete(0)).toThrow(/delete from table: it is an array; its elements stay/);
  });

  it('moves a million entries', () => {
    using map = BpfMap.create(hashMap('million', { key: u32, value: u32, maxEntries: 1 << 20 }));
    map.updateMany(Array.from({ length: 1_000_000 }, (_, index) => [index, index] as const));
    let count = 0;
    for (const [key, value] of map.entries()) if (key === value) count++;
    expect(count).toBe(1_000_000);
  });

  it('is listed as leaked, with the stack that opened it, until it is closed', () => {
    const map = BpfMap.create(arrayMap('leaked', { value: u32, maxEntries: 1 }));
    expect(leakedDescriptors().join()).toMatch(/create map leaked[\s\S]*maps\.test\.ts/);
    map[Symbol.dispose]();
    expect(leakedDescriptors()).toEqual([]);
    expect(() => map.fd).toThrow(/^use a closed descriptor \(it was opened to create map \w+\)/);
  });

  it('names what makes no sense when it is defined', () => {
    expect(() => hashMap('a name that is too long', { key: u32, value: u32, maxEntries: 1 })).toThrow(
      /1 to 15 letters/,
    );
    expect(() => arrayMap('none', { value: bytes(4), maxEntries: 0 })).toThrow(/maxEntries is 0/);
  });
});
