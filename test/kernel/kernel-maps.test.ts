import { expect, it } from 'vitest';
import { protectionMaps } from '../../src/dataplane/pipeline.ts';
import { SMALL_LISTS } from '../../src/dataplane/maps.ts';
import { type MapSpec, struct, u16, u64 } from '../../src/ebpf/index.ts';
import { KernelMaps } from '../../src/engine/kernel-maps.ts';
import { Pins } from '../../src/engine/pins.ts';
import { transact } from '../../src/engine/transaction.ts';
import { resolvePolicy } from '../../src/policy/policy.ts';
import { describeAsRoot } from '../support/as-root.ts';

const Larger = struct('larger', { numbers: u64, until: u64, more: u64 });
const policy = resolvePolicy();
const specs = protectionMaps(policy, SMALL_LISTS);
const spec = specs.verified as MapSpec;

/** What differs, and the map that is looked for. */
const OTHERS: readonly (readonly [string, MapSpec])[] = [
  ['of another type', { ...spec, type: specs.shares.type }],
  ['with keys of another size', { ...spec, key: u16 }],
  ['with values of another size', { ...spec, value: Larger }],
  ['with another number of entries', { ...spec, maxEntries: spec.maxEntries * 2 }],
  ['with other flags', { ...spec, flags: spec.flags ^ (1 << 10) }],
  ['of another name', { ...spec, name: 'other' }],
];

describeAsRoot('maps that are taken over', () => {
  it('are those of the same shape, from a generation before and from pins', () => {
    using maps = KernelMaps.create(specs, policy);
    const pins = new Pins('lo');
    transact((transaction) => {
      pins.stage(transaction, maps, { policy: '', services: [], sysctls: {}, tested: {} }).commit();
    });
    for (const find of [maps.find, pins.open()!.find]) {
      using found = find(spec);
      expect(found?.info.id).toBe(maps.get(specs.verified).info.id);
      for (const [what, other] of OTHERS) {
        using none = find(other);
        expect([what, none?.spec.name]).toEqual([what, undefined]);
      }
    }
    pins.remove();
  });
});
