import { afterAll, expect } from 'vitest';
import { verifyEveryPass } from '../../src/ebpf/ir/compile.ts';
import { leakedDescriptors, traceDescriptors } from '../../src/ebpf/sys/descriptor.ts';

traceDescriptors();
verifyEveryPass();

afterAll(() => {
  expect(leakedDescriptors(), 'descriptors left open').toEqual([]);
});
