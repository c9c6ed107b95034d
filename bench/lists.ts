/** `npm run bench -- lists`: how long a million networks take to load and to change. */
import { LiveLists, listCapacity, type SourceLists } from '../src/engine/lists/lists.ts';
import { KernelMaps } from '../src/engine/kernel-maps.ts';
import { protection } from '../src/dataplane/pipeline.ts';
import { randomBytes } from 'node:crypto';
import { formatCidr } from '../src/net/address.ts';
import { packIpv6 } from '../src/net/ipv6-network.ts';
import { type NetworkList, networkCidrs, packIpv4, readNetworks } from '../src/net/network-list.ts';
import { resolvePolicy } from '../src/policy/policy.ts';
import { median, round } from './statistics.ts';

/** Networks as block lists have them: mostly single hosts, some /24, few wider; outside what the benchmarks' sources use. */
export function randomNetworks(count: number, firstOctet = 128): NetworkList {
  let state = 1;
  const next = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state;
  };
  const v4 = new Set<number>();
  while (v4.size < count) {
    const bits = next() % 10 === 0 ? 24 : 32;
    const size = 2 ** (32 - bits);
    // Half lie among the sources that benchmarks forge, so that look-ups go all the way down.
    const address = (next() % 2 === 0 ? 11 + (next() % 116) : firstOctet + (next() % 90)) * 2 ** 24 + (next() >>> 8);
    v4.add(packIpv4(Math.floor(address / size) * size, bits));
  }
  return { v4: [...v4], v6: [] };
}

/** Networks of a site each, anywhere in the addresses that are in use. */
function randomNetworks6(count: number): NetworkList {
  const v6 = Array.from({ length: count }, () => {
    const address = randomBytes(16);
    address[0] = 0x20 | (address[0]! & 0x0f);
    return packIpv6({ address, bits: 64 });
  });
  return { v4: [], v6 };
}

const asText = (list: NetworkList): string => networkCidrs(list).map(formatCidr).join('\n');

const ROUNDS = 5;

interface ListTimes {
  readonly networks: number;
  readonly parseMs: number;
  readonly loadMs: number;
  readonly changeOfTwoMs: number;
}

/** A million IPv4 networks, and as many of IPv6, which the kernel's own trie holds. */
export function measureLists(): { readonly ipv4: ListTimes; readonly ipv6: ListTimes } {
  return { ipv4: measure(randomNetworks(1_000_000)), ipv6: measure(randomNetworks6(1_000_000)) };
}

function measure(deny: NetworkList): ListTimes {
  const policy = resolvePolicy();
  const text = asText(deny);
  const times = { parse: [] as number[], load: [] as number[], change: [] as number[] };
  for (let index = 0; index < ROUNDS; index++) {
    const start = performance.now();
    const read: NetworkList = { v4: [], v6: [] };
    readNetworks(text, read);
    const parsed = performance.now();
    const lists: SourceLists = { allow: { v4: [], v6: [] }, deny: read };
    const { maps: specs } = protection(policy, { lists: listCapacity(lists) });
    using maps = KernelMaps.create(specs, policy);
    const before = performance.now();
    using live = new LiveLists(maps, specs, lists);
    const loaded = performance.now();
    live.add('deny', ['192.0.2.1', '2001:db8::/48']);
    times.parse.push(parsed - start);
    times.load.push(loaded - before + (parsed - start));
    times.change.push(performance.now() - loaded);
  }
  return {
    networks: deny.v4.length + deny.v6.length,
    parseMs: round(median(times.parse)),
    loadMs: round(median(times.load)),
    changeOfTwoMs: round(median(times.change)),
  };
}
