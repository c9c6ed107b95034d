import type { ProtectionMaps } from '../dataplane/pipeline.ts';
import type { BpfMap, MapSpec, Type } from '../ebpf/index.ts';
import type { FindMap, KernelMaps } from './kernel-maps.ts';

/** Finds the maps of an earlier generation. Rows of counters are by a service's index, so counters are taken over for the same services only. */
export function findFor(
  find: FindMap,
  before: readonly string[],
  { counters }: ProtectionMaps,
  after: readonly string[],
): FindMap {
  const same = before.length === after.length && before.every((name, index) => name === after[index]);
  return (spec) => (spec.name === counters.name && !same ? undefined : find(spec));
}

/** Copies the state of each service by its name from the maps of an earlier generation: bucket, challenge switch, shares. */
export function carryServices(
  find: FindMap,
  before: readonly string[],
  next: KernelMaps,
  { services, shares }: ProtectionMaps,
  after: readonly string[],
): void {
  if (before.length === 0) return;
  const stays = after.flatMap((name, to) => (before.includes(name) ? [[before.indexOf(name), to] as const] : []));
  for (const spec of [services, shares] as unknown as MapSpec<Type, Type, 'array'>[]) {
    using old = find({ ...spec, maxEntries: before.length }) as BpfMap<Type, Type, 'array'> | undefined;
    if (!old) continue;
    for (const [from, to] of stays) next.get(spec).update(to, old.lookup(from)!);
  }
}
