/**
 * Services by look-up, for when they are many. Ports fall into classes: two ports are of one class when the same services name
 * both. Addresses likewise, by longest prefix. A table of both classes gives the first service that names both, so a SYN costs
 * three look-ups however many services there are.
 */
import { arrayMap, type Builder, type IntVariable, lpmTrie, u16, u32 } from '../../ebpf/language.ts';
import { type Cidr, cidrContains } from '../../net/address.ts';
import type { Policy } from '../../policy/policy.ts';
import { AddressKey, addressKey, addressKeyFor } from '../frame/address-key.ts';
import type { Segment } from '../frame/parse.ts';
import { mapGroup } from '../maps.ts';
import { inlined, NO_SERVICE } from './service-policy.ts';

const PORTS = 65_536;

/** The contents of the class maps. */
export interface ServiceClasses {
  readonly ports: Uint16Array;
  readonly addresses: readonly (readonly [Cidr, number])[];
  readonly addressClasses: number;
  readonly portClasses: number;
  /** By address class, then port class. */
  readonly table: Uint16Array;
}

/** Gives equal sets of services the same number; the empty set is 0. */
class Classes {
  readonly sets: ReadonlySet<number>[] = [new Set()];
  readonly #known = new Map<string, number>([['', 0]]);

  of(services: readonly number[]): number {
    const name = services.join(',');
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    this.#known.set(name, this.sets.length);
    this.sets.push(new Set(services));
    return this.sets.length - 1;
  }
}

export function serviceClasses({ services }: Pick<Policy, 'services'>): ServiceClasses {
  const portClasses = new Classes();
  const named: number[][] = Array.from({ length: PORTS }, () => []);
  services.forEach(({ ports }, index) => {
    for (const { first, last } of ports.length === 0 ? [{ first: 0, last: PORTS - 1 }] : ports) {
      for (let port = first; port <= last; port++) if (named[port]!.at(-1) !== index) named[port]!.push(index);
    }
  });
  const ports = Uint16Array.from(named, (list) => portClasses.of(list));

  const addressClasses = new Classes();
  const everywhere = [...services.entries()]
    .filter(([, { addresses }]) => addresses.length === 0)
    .map(([index]) => index);
  const covering = (network: Cidr): number[] =>
    [...services.entries()]
      .filter(([, { addresses }]) =>
        addresses.some((wide) => wide.bits <= network.bits && cidrContains(wide, network.address)),
      )
      .map(([index]) => index);
  // Where no service names the address, those that name none decide.
  const anywhere = [4, 16].map((length): Cidr => ({ address: new Uint8Array(length), bits: 0 }));
  const networks = [...anywhere, ...services.flatMap((service) => service.addresses)];
  const addresses = networks.map((network): readonly [Cidr, number] => [
    network,
    addressClasses.of([...everywhere, ...covering(network)].toSorted((a, b) => a - b)),
  ]);
  const table = Uint16Array.from({ length: addressClasses.sets.length * portClasses.sets.length }, (_, at) => {
    const address = addressClasses.sets[Math.floor(at / portClasses.sets.length)]!;
    const port = portClasses.sets[at % portClasses.sets.length]!;
    return [...address].find((service) => port.has(service)) ?? NO_SERVICE;
  });
  return {
    ports,
    addresses,
    addressClasses: addressClasses.sets.length,
    portClasses: portClasses.sets.length,
    table,
  };
}

function classMaps(classes: ServiceClasses) {
  const { addresses, table } = classes;
  return {
    classes,
    ports: arrayMap('port_class', { value: u16, maxEntries: PORTS, mmap: true }),
    addresses: lpmTrie('address_class', { key: AddressKey, value: u32, maxEntries: addresses.length }),
    table: arrayMap('service_table', { value: u16, maxEntries: table.length, mmap: true }),
  };
}

export type ClassMaps = ReturnType<typeof classMaps>;

export const classGroup = mapGroup({
  specs: ({ policy }): { readonly classes: ClassMaps | undefined } => ({
    classes: inlined(policy) ? undefined : classMaps(serviceClasses(policy)),
  }),
  contents: ({ classes }) =>
    classes
      ? [
          { map: classes.ports, entries: [...classes.classes.ports.entries()] },
          { map: classes.table, entries: [...classes.classes.table.entries()] },
          {
            map: classes.addresses,
            entries: classes.classes.addresses.map(([cidr, value]) => [addressKey(cidr), value]),
          },
        ]
      : [],
});

export function lookUpService<R>(
  $: Builder<R>,
  { ports, addresses, table, classes }: ClassMaps,
  { destination, tcp }: Segment,
  index: IntVariable<32>,
): void {
  $.lookup(addresses, addressKeyFor($, destination)).match({
    some: (addressClass) => {
      $.lookup(
        ports,
        tcp.dest
          .host()
          .u32()
          .and(PORTS - 1),
      ).match({
        some: (portClass) => {
          const at = addressClass.value.mul(classes.portClasses).add(portClass.value.u32());
          $.lookup(table, at).match({
            some: (service) => {
              index.set(service.value.u32());
            },
          });
        },
      });
    },
  });
}
