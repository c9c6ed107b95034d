/** `npm run bench -- lists`: how long a million networks take to load and to change. */
import { LiveLists, listCapacity, type SourceLists } from '../src/daemon/lists.ts';
import { KernelMaps } from '../src/daemon/kernel-maps.ts';
import { protection } from '../src/dataplane/program.ts';
import { formatIpv4 } from '../src/net/address.ts';
import { type NetworkList, packIpv4, readNetworks } from '../src/net/network-list.ts';
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

const asText = ({ v4 }: NetworkList): string =>
  v4.map((packed) => `${formatIpv4(Math.floor(packed / 64))}/${String(packed % 64)}`).join('\n');

const ROUNDS = 5;

export function measureLists(): object {
  const policy = resolvePolicy();
  const deny = randomNetworks(1_000_000);
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
    live.add('deny', ['192.0.2.1', '198.51.100.0/24']);
    times.parse.push(parsed - start);
    times.load.push(loaded - before + (parsed - start));
    times.change.push(performance.now() - loaded);
  }
  return {
    networks: deny.v4.length,
    parseMs: round(median(times.parse)),
    loadMs: round(median(times.load)),
    changeOfTwoMs: round(median(times.change)),
  };
}
