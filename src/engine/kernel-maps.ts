import { randomBytes } from 'node:crypto';
import { BpfMap, type Infer, type MapKind, type MapSpec, type Type } from '../ebpf/index.ts';
import { flatMaps } from '../dataplane/maps.ts';
import { mapContents, type ProtectionMaps } from '../dataplane/pipeline.ts';
import type { Keys } from '../dataplane/state/hash.ts';
import type { Policy } from '../policy/policy.ts';

/** A map that exists and has the shape of a spec, as a descriptor of its own. */
export type FindMap = (spec: MapSpec) => BpfMap | undefined;

/** The maps of a protected interface in the kernel. They outlive programs: a new policy takes over those whose shape it shares. */
export class KernelMaps implements Disposable {
  readonly #maps = new Map<string, BpfMap>();

  /** Makes the maps of a protection; those that `find` has already, in the same shape, are taken over with what they hold. */
  static create(maps: ProtectionMaps, policy: Policy, find: FindMap = () => undefined): KernelMaps {
    const created = new KernelMaps();
    try {
      const contents = mapContents(maps, policy);
      const fresh = new Set(contents.map(({ map }) => map.name));
      for (const spec of flatMaps(maps)) {
        const known = fresh.has(spec.name) ? undefined : find(spec);
        created.#maps.set(spec.name, known ?? BpfMap.create(spec));
        if (!known && spec.name === maps.keys.name) created.get(maps.keys).update(0, randomKeys());
      }
      for (const content of contents) {
        const map = created.get(content.map as MapSpec<Type, Type, 'array'>);
        if ('values' in content) fill(map, content.values);
        else if (content.entries.length > 0) map.updateMany(content.entries as never);
      }
      return created;
    } catch (error) {
      created[Symbol.dispose]();
      throw error;
    }
  }

  /** Gives these maps to others that take over. */
  readonly find: FindMap = (spec) => {
    const known = this.#maps.get(spec.name);
    return known && sameShape(known.spec, spec) ? BpfMap.openById(known.info.id, spec) : undefined;
  };

  get<K extends Type, V extends Type, Kind extends MapKind>(spec: MapSpec<K, V, Kind>): BpfMap<K, V, Kind> {
    return this.#maps.get(spec.name) as unknown as BpfMap<K, V, Kind>;
  }

  get all(): readonly BpfMap[] {
    return [...this.#maps.values()];
  }

  [Symbol.dispose](): void {
    for (const map of this.#maps.values()) map[Symbol.dispose]();
  }
}

/** Writes the values of an array in its own memory, where each takes 8 bytes. */
function fill(map: BpfMap<Type, Type, 'array'>, values: Uint16Array): void {
  using mapping = map.mmap();
  const memory = new Uint16Array(mapping.memory);
  values.forEach((value, index) => {
    memory[index * 4] = value;
  });
}

function sameShape(a: MapSpec, b: MapSpec): boolean {
  return (
    a.type === b.type &&
    a.key?.size === b.key?.size &&
    a.value?.size === b.value?.size &&
    a.maxEntries === b.maxEntries &&
    a.flags === b.flags
  );
}

/** New secrets; multipliers are odd, so that nothing of a word is lost. */
export function randomKeys(): Infer<typeof Keys> {
  const word = (): bigint => randomBytes(8).readBigUInt64LE();
  return {
    hashStart: [word(), word()],
    hashMultiplier: word() | 1n,
    hashFinish: word() | 1n,
    cookie: Array.from({ length: 8 }, word),
  };
}
