import { expect } from 'vitest';
import { interfaceIndex } from '../../src/ebpf/index.ts';
import { tryCommand } from '../../src/ebpf/sys/bpf.ts';
import { addressOf } from '../../src/ebpf/sys/libc.ts';

/** The programs in traffic control of an interface of this network namespace: BPF_PROG_QUERY of BPF_TCX_INGRESS. */
export function trafficControl(interfaceName: string): number[] {
  const [query, ids] = [Buffer.alloc(64), Buffer.alloc(64)];
  query.writeUInt32LE(interfaceIndex(interfaceName)!, 0);
  query.writeUInt32LE(46, 4);
  query.writeBigUInt64LE(addressOf(ids), 16);
  query.writeUInt32LE(16, 24);
  expect(tryCommand('PROG_QUERY', query)).toMatchObject({ ok: true });
  return Array.from({ length: query.readUInt32LE(24) }, (_, at) => ids.readUInt32LE(at * 4));
}
