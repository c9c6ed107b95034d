import { afterAll, expect } from 'vitest';
import { leakedDescriptors, traceDescriptors } from '../../src/ebpf/sys/descriptor.ts';

traceDescriptors();

afterAll(() => {
  expect(leakedDescriptors(), 'descriptors left open').toEqual([]);
});
