/**
 * Services by look-up, for many services. Ports fall into classes: two ports are in one class when the same services name both. The same holds for
 * addresses, by longest prefix. A table of both classes gives the first service that names both, so a SYN costs three look-ups for any number of
 * services.
 */
import { arrayMap, type Builder, type IntVariable, lpmTrie, u16, u32 } from '../../ebpf/language.ts';
import { type Cidr, maskAddress } from '../../net/address.ts';
import type { Policy } from '../../policy/policy.ts';
import { PolicyError } from '../../policy/policy-error.ts';
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

/** What the table may hold: 1,024 services with an address and two ports of their own take half. */
const LARGEST_TABLE = 1 << 22;

/** A set of services, a bit each, with the words in order. */
type ServiceSet = Uint32Array;

/** Gives equal sets of services the same number; the empty set is 0. */
class Classes {
  readonly sets: ServiceSet[] = [];
  readonly #known = new Map<string, number>();

  constructor(empty: ServiceSet) {
    this.of(empty);
  }

  of(services: ServiceSet): number {
    const name = Buffer.from(services.buffer).toString('latin1');
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    this.#known.set(name, this.sets.length);
    this.sets.push(services.slice());
    return this.sets.length - 1;
  }
}

/** The class of each port, from the ports at which a service begins or ends. */
function classifyPorts(services: Policy['services'], classes: Classes, set: ServiceSet): Uint16Array {
  const changes = new Map<number, [service: number, by: number][]>();
  const change = (port: number, service: number, by: number): void => {
    const there = changes.get(port);
    if (there) there.push([service, by]);
    else changes.set(port, [[service, by]]);
  };
  services.forEach(({ ports }, index) => {
    for (const { first, last } of ports.length === 0 ? [{ first: 0, last: PORTS - 1 }] : ports) {
      change(first, index, 1);
      change(last + 1, index, -1);
    }
  });
  // The ranges of a service may overlap.
  const ranges = new Int32Array(services.length);
  let current = 0;
  return Uint16Array.from({ length: PORTS }, (_, port) => {
    const here = changes.get(port);
    if (!here) return current;
    for (const [service, by] of here) {
      ranges[service]! += by;
      put(set, service, ranges[service]! > 0);
    }
    current = classes.of(set);
    return current;
  });
}

function put(set: ServiceSet, service: number, member: boolean): void {
  const bit = 1 << (service & 31);
  if (member) set[service >>> 5]! |= bit;
  else set[service >>> 5]! &= ~bit;
}

/** The class of each network that is named, and of all others, by the networks around it. */
function classifyAddresses(services: Policy['services'], classes: Classes, empty: ServiceSet): [Cidr, number][] {
  // Where no service names the address, those that name none decide.
  const anywhere = [4, 16].map((length): Cidr => ({ address: new Uint8Array(length), bits: 0 }));
  const nameOf = ({ address, bits }: Cidr): string =>
    `${String(bits)}/${Buffer.from(maskAddress(address, bits)).toString('latin1')}`;
  const named = new Map<string, { readonly network: Cidr; readonly set: ServiceSet }>();
  const lengths = new Map<number, Set<number>>([4, 16].map((size) => [size, new Set()]));
  const name = (network: Cidr, service: number): void => {
    const known = named.get(nameOf(network)) ?? { network, set: empty.slice() };
    named.set(nameOf(network), known);
    lengths.get(network.address.length)!.add(network.bits);
    put(known.set, service, true);
  };
  services.forEach(({ addresses }, index) => {
    for (const network of addresses.length === 0 ? anywhere : addresses) name(network, index);
  });
  for (const network of anywhere)
    if (!named.has(nameOf(network))) named.set(nameOf(network), { network, set: empty.slice() });
  return [...named.values()].map(({ network }) => {
    const { address } = network;
    const set = empty.slice();
    for (const bits of lengths.get(address.length)!) {
      if (bits > network.bits) continue;
      named.get(nameOf({ address, bits }))?.set.forEach((word, at) => {
        set[at]! |= word;
      });
    }
    return [network, classes.of(set)];
  });
}

/** The first service that is in both sets; `words` are the words of the first set that are not zero. */
function firstOfBoth(a: ServiceSet, words: readonly number[], b: ServiceSet): number {
  for (const at of words) {
    const both = a[at]! & b[at]!;
    if (both !== 0) return at * 32 + 31 - Math.clz32(both & -both);
  }
  return NO_SERVICE;
}

/** @throws PolicyError where services name so many ports and addresses in so many ways that the table would take too much memory. */
export function serviceClasses({ services }: Pick<Policy, 'services'>): ServiceClasses {
  const empty = new Uint32Array(Math.ceil(services.length / 32));
  const portClasses = new Classes(empty);
  const ports = classifyPorts(services, portClasses, empty.slice());
  const addressClasses = new Classes(empty);
  const addresses = classifyAddresses(services, addressClasses, empty);
  const [rows, columns] = [addressClasses.sets.length, portClasses.sets.length];
  if (rows * columns > LARGEST_TABLE || columns > PORTS) {
    throw new PolicyError(
      'services',
      `${String(rows)} groups of addresses by ${String(columns)} groups of ports are too many to look up; let services share their ports or addresses`,
    );
  }
  const table = new Uint16Array(rows * columns);
  addressClasses.sets.forEach((set, row) => {
    const words = [...set.keys()].filter((at) => set[at] !== 0);
    portClasses.sets.forEach((other, column) => {
      table[row * columns + column] = firstOfBoth(set, words, other);
    });
  });
  return { ports, addresses, addressClasses: rows, portClasses: columns, table };
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
          { map: classes.ports, values: classes.classes.ports },
          { map: classes.table, values: classes.classes.table },
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
