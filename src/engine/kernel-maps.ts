import { randomBytes } from 'node:crypto';
import { BpfMap, type Infer, type MapKind, type MapSpec, type Type } from '../ebpf/index.ts';
import type { Keys, ProtectionMaps } from '../dataplane/maps.ts';
import { addressKey } from '../dataplane/frame/address-key.ts';
import { servicePolicies } from '../dataplane/stages/service.ts';
import type { Policy } from '../policy/policy.ts';

/** Every map of a protection, in a flat list. */
export function mapSpecs(maps: ProtectionMaps): MapSpec[] {
  const { meters, lists, classes, policies, events, ...rest } = maps;
  return [
    meters.source,
    ...meters.prefixes,
    ...Object.values(lists),
    ...(classes ? [classes.ports, classes.addresses, classes.table] : []),
    ...(policies ? [policies] : []),
    events,
    events.lost,
    ...Object.values(rest),
  ] as MapSpec[];
}

/** Maps whose contents follow from the policy: a new one fills them anew. */
function contents({ services, shares, policies, classes, lists }: ProtectionMaps): Set<string> {
  const specs = [
    services,
    shares,
    ...(policies ? [policies] : []),
    ...(classes ? [classes.ports, classes.addresses, classes.table] : []),
    ...Object.values(lists),
  ];
  return new Set(specs.map(({ name }) => name));
}

/** A map that exists and has the shape of a spec, as a descriptor of its own. */
export type FindMap = (spec: MapSpec) => BpfMap | undefined;

/** The maps of a protected interface in the kernel. They outlive programs: a new policy takes over those whose shape it shares. */
export class KernelMaps implements Disposable {
  readonly #maps = new Map<string, BpfMap>();
  readonly #carried = new Set<string>();

  /** Makes the maps of a protection; those that `find` has already, in the same shape, are taken over with what they hold. */
  static create(maps: ProtectionMaps, policy: Policy, find: FindMap = () => undefined): KernelMaps {
    const created = new KernelMaps();
    try {
      const fresh = contents(maps);
      for (const spec of mapSpecs(maps)) {
        const known = fresh.has(spec.name) ? undefined : find(spec);
        created.#maps.set(spec.name, known ?? BpfMap.create(spec));
        if (known) created.#carried.add(spec.name);
      }
      if (!created.#carried.has(maps.keys.name)) created.get(maps.keys).update(0, randomKeys());
      created.#fill(maps, policy);
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

  /** Whether a map was taken over. */
  carried(spec: MapSpec): boolean {
    return this.#carried.has(spec.name);
  }

  get<K extends Type, V extends Type, Kind extends MapKind>(spec: MapSpec<K, V, Kind>): BpfMap<K, V, Kind> {
    return this.#maps.get(spec.name) as unknown as BpfMap<K, V, Kind>;
  }

  get all(): readonly BpfMap[] {
    return [...this.#maps.values()];
  }

  #fill({ classes, policies }: ProtectionMaps, policy: Policy): void {
    if (policies) {
      const values = servicePolicies(policy).map((value, index): [number, Infer<typeof policies.value & object>] => {
        const four = (pick: (bucket: { price: number; credit: number }) => number): number[] =>
          Array.from({ length: 4 }, (_, at) => (value.prefixes[at] ? pick(value.prefixes[at]) : 0));
        return [
          index,
          {
            servicePrice: value.servicePrice,
            serviceCredit: value.serviceCredit,
            sourcePrice: value.source.price,
            sourceCredit: value.source.credit,
            verifiedPrice: value.verified.price,
            verifiedCredit: value.verified.credit,
            prefixPrice: four(({ price }) => price),
            prefixCredit: four(({ credit }) => credit),
            mode: value.mode,
            spare: 0,
          },
        ];
      });
      this.get(policies).updateMany(values);
    }
    if (!classes) return;
    const { ports, addresses, table } = classes.classes;
    this.get(classes.ports).updateMany([...ports].map((value, index) => [index, value] as const));
    this.get(classes.table).updateMany([...table].map((value, index) => [index, value] as const));
    this.get(classes.addresses).updateMany(addresses.map(([cidr, value]) => [addressKey(cidr), value] as const));
  }

  [Symbol.dispose](): void {
    for (const map of this.#maps.values()) map[Symbol.dispose]();
  }
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
    hashStart: word(),
    hashMultiplier: word() | 1n,
    hashFinish: word() | 1n,
    cookie: Array.from({ length: 8 }, word),
  };
}
