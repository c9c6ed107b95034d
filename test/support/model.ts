/**
 * The decision list in plain TypeScript, from the bytes of a frame to verdict and reason. Written from the documents for clarity;
 * it shares no code with the generator, so that the two can be compared.
 */
import type { ReasonName, VerdictName } from '../../src/dataplane/reason.ts';
import type { Bucket, Policy, Service } from '../../src/policy/policy.ts';

const M64 = (1n << 64n) - 1n;

/** The secrets of the hash, as the kernel has them. */
export interface ModelKeys {
  readonly hashStart: bigint;
  readonly hashMultiplier: bigint;
  readonly hashFinish: bigint;
}

export interface Judged {
  readonly verdict: VerdictName;
  readonly reason: ReasonName;
}

/** Thrown by a stage that ends the path. */
class End {
  readonly reason: ReasonName;
  constructor(reason: ReasonName) {
    this.reason = reason;
  }
}
const end = (reason: ReasonName): never => {
  throw new End(reason);
};

interface Syn {
  readonly family: 4 | 6;
  readonly source: Buffer;
  readonly destination: Buffer;
  /** From the TCP header to the end of the frame. */
  readonly tcp: Buffer;
  /** Bytes of the segment by IP's account. */
  readonly length: number;
  readonly fragmented: boolean;
  readonly ipv4Header: Buffer | undefined;
}

const PASSES = new Set<ReasonName>([
  'not-ip', 'not-tcp', 'later-fragment', 'not-syn', 'allowed', 'no-service', 'verified', 'within-limit',
]);

export class Model {
  readonly #policy: Policy;
  readonly #keys: ModelKeys;
  readonly #meters = new Map<string, Map<number, Uint32Array>>();
  readonly #services: { paid: bigint; tokens: number }[];

  constructor(policy: Policy, keys: ModelKeys) {
    this.#policy = policy;
    this.#keys = keys;
    this.#services = policy.services.map(() => ({ paid: 0n, tokens: 0 }));
  }

  judge(frame: Buffer, now: bigint): Judged {
    try {
      return this.#decide(frame, now);
    } catch (error) {
      if (!(error instanceof End)) throw error;
      const { reason } = error;
      return { reason, verdict: PASSES.has(reason) || this.#policy.dryRun ? 'pass' : 'drop' };
    }
  }

  #decide(frame: Buffer, now: bigint): never {
    const syn = this.#parse(frame);
    const source = syn.source;
    if (this.#inList(source, this.#policy.lists.allow)) end('allowed');
    if (this.#inList(source, this.#policy.lists.deny)) end('denied');
    const index = this.#policy.services.findIndex((service) => serves(service, syn));
    if (index < 0) end('no-service');
    const options = this.#checkHeader(syn);
    this.#sanity(syn, options);
    return this.#limits(syn, index, now);
  }

  #parse(frame: Buffer): Syn {
    let at = 12;
    let type = frame.readUInt16BE(at);
    at += 2;
    for (let tags = 0; type === 0x8100 || type === 0x88a8 || type === 0x9100; tags++) {
      if (tags === 2) end('vlan-depth');
      if (frame.length < at + 4) end('truncated');
      type = frame.readUInt16BE(at + 2);
      at += 4;
    }
    if (type === 0x0800) return this.#parse4(frame.subarray(at));
    if (type === 0x86dd) return this.#parse6(frame.subarray(at));
    return end('not-ip');
  }

  #parse4(ip: Buffer): Syn {
    if (ip.length < 20) end('truncated');
    const version = ip[0]! >> 4;
    const headerLength = (ip[0]! & 15) * 4;
    if (version !== 4 || headerLength < 20) end('bad-ip-header');
    if (ip.length < headerLength) end('truncated');
    if (ip[9] !== 6) end('not-tcp');
    const word = ip.readUInt16BE(6);
    const offset = word & 0x1fff;
    if (offset === 1) end('tiny-fragment');
    if (offset > 0) end(this.#policy.fragments.later === 'pass' ? 'later-fragment' : 'fragment');
    const more = (word & 0x2000) !== 0;
    if (more && this.#policy.fragments.first === 'drop') end('fragment');
    const total = ip.readUInt16BE(2);
    if (total > ip.length || total < headerLength + 20) end('bad-length');
    const tcp = ip.subarray(headerLength);
    return this.#syn({
      family: 4,
      source: ip.subarray(12, 16),
      destination: ip.subarray(16, 20),
      tcp,
      length: total - headerLength,
      fragmented: more,
      ipv4Header: ip.subarray(0, headerLength),
    });
  }

  #parse6(ip: Buffer): Syn {
    if (ip.length < 40) end('truncated');
    if (ip[0]! >> 4 !== 6) end('bad-ip-header');
    let next = ip[6]!;
    let at = 40;
    let fragmented = false;
    const chained = [0, 43, 44, 51, 60];
    for (let headers = 0; chained.includes(next); headers++) {
      if (headers === 8) end('ipv6-chain');
      if (ip.length < at + 2) end('truncated');
      let size = (ip[at + 1]! + 1) * 8;
      if (next === 51) size = (ip[at + 1]! + 2) * 4;
      if (next === 44) {
        if (ip.length < at + 8) end('truncated');
        size = 8;
        const word = ip.readUInt16BE(at + 2);
        if ((word & 0xfff8) === 8 && ip[at] === 6) end('tiny-fragment');
        if ((word & 0xfff8) !== 0) {
          end(this.#policy.fragments.later === 'drop' && ip[at] === 6 ? 'fragment' : 'later-fragment');
        }
        if ((word & 1) !== 0) {
          if (this.#policy.fragments.first === 'drop' && ip[at] === 6) end('fragment');
          fragmented = true;
        }
      }
      next = ip[at]!;
      at += size;
    }
    if (next !== 6) end('not-tcp');
    const payload = ip.readUInt16BE(4);
    if (payload > ip.length - 40 || payload < at - 40 + 20) end('bad-length');
    return this.#syn({
      family: 6,
      source: ip.subarray(8, 24),
      destination: ip.subarray(24, 40),
      tcp: ip.subarray(at),
      length: payload - (at - 40),
      fragmented,
      ipv4Header: undefined,
    });
  }

  #syn(syn: Syn): Syn {
    const flags = syn.tcp[13]!;
    if ((flags & 0x12) !== 0x02) end('not-syn');
    return syn;
  }

  #inList(address: Buffer, networks: readonly string[]): boolean {
    return networks.some((text) => inNetwork(address, text));
  }

  #checkHeader({ tcp, length }: Syn): { bytes: Buffer; sound: boolean; kinds: Set<number> } {
    const header = (tcp[12]! >> 4) * 4;
    if (header < 20 || header > length) end('bad-tcp-header');
    const bytes = tcp.subarray(20, header);
    const kinds = new Set<number>();
    let sound = true;
    for (let at = 0; at < bytes.length && bytes[at] !== 0;) {
      if (bytes[at] === 1) {
        at++;
        continue;
      }
      // Where the list ends within an option, the length is read from what follows, and a frame that ends there is short.
      if (tcp.length < 20 + at + 2) end('truncated');
      const size = tcp[20 + at + 1]!;
      if (size < 2 || at + size > bytes.length) {
        sound = false;
        break;
      }
      if ({ 2: 4, 3: 3, 4: 2, 8: 10 }[bytes[at]!] === size) kinds.add(bytes[at]!);
      at += size;
    }
    return { bytes, sound, kinds };
  }

  #sanity(syn: Syn, options: { bytes: Buffer; sound: boolean; kinds: Set<number> }): void {
    const { tcp, source, destination, ipv4Header: ip } = syn;
    const flags = tcp[13]!;
    const window = tcp.readUInt16BE(14);
    const seq = tcp.readUInt32BE(4);
    const check = (name: Parameters<Policy['sanity']['has']>[0], bad: boolean): void => {
      if (bad && this.#policy.sanity.has(name)) end(name);
    };
    check('syn-fin', (flags & 1) !== 0);
    check('syn-rst', (flags & 4) !== 0);
    check('syn-urg', (flags & 0x20) !== 0);
    check('syn-payload', syn.length > 20 + options.bytes.length);
    check('syn-ack-number', tcp.readUInt32BE(8) !== 0);
    check('syn-fragment', syn.fragmented);
    check('null-port', tcp.readUInt16BE(0) === 0 || tcp.readUInt16BE(2) === 0);
    check('land', source.equals(destination));
    check('bad-source', impossible(source));
    check('bad-options', !options.sound);
    if (ip) {
      let sum = 0;
      for (let at = 0; at < ip.length; at += 2) sum += ip.readUInt16BE(at);
      check('ip-checksum', sum % 0xffff !== 0 || sum === 0);
    }
    check('hping', window === 512 && options.bytes.length === 0);
    if (ip) {
      const folded = (destination.readUInt32BE() ^ tcp.readUInt16BE(2) ^ seq) & 0xffff;
      check('masscan', window === 1024 && ip.readUInt16BE(4) === folded);
      const known = [2, 3, 4, 8].some((kind) => kind !== 2 && options.kinds.has(kind));
      check('zmap', ip.readUInt16BE(4) === 54_321 && window === 65_535 && !known);
      check('mirai', seq === destination.readUInt32BE());
    }
  }

  #limits({ source, family }: Syn, index: number, now: bigint): never {
    const { services } = this.#policy;
    const service = services[index]!;
    const { limits } = service;
    const words = [0, 8].slice(0, family === 4 ? 1 : 2).map((at) => {
      const word = Buffer.alloc(8);
      source.copy(word, 0, at, at + 8);
      return word.readBigUInt64LE();
    });
    const meter = (name: string, bits: number, bucket: Bucket | undefined, all: (Bucket | undefined)[]): boolean => {
      if (!bucket) return true;
      const key = keptBits(words, bits);
      if (services.length > 1) key[0] = key[0]! ^ (BigInt(index) << 32n);
      return this.#take(name, key, bucket, all.filter((one) => one !== undefined), now);
    };
    if (!meter('source', 128, limits.source, services.map((one) => one.limits.source))) end('over-source');
    services[0]!.limits.prefixes.forEach(({ family: of, bits }, at) => {
      if (of !== family) return;
      const all = services.map((one) => one.limits.prefixes[at]);
      if (!meter(`prefix ${String(at)}`, bits, limits.prefixes[at], all)) end('over-prefix');
    });
    if (limits.service && !this.#takeService(index, limits.service, now)) end('over-service');
    return end('within-limit');
  }

  /** A key's token bucket in two cells of 32 bits. */
  #take(name: string, key: readonly bigint[], bucket: Bucket, all: readonly Bucket[], now: bigint): boolean {
    let hash = this.#keys.hashStart;
    for (const word of key) {
      hash = ((hash ^ word) * this.#keys.hashMultiplier) & M64;
      hash ^= hash >> 32n;
    }
    hash = (hash * this.#keys.hashFinish) & M64;
    hash ^= hash >> 32n;
    // The finest tick with which an interval has 4096 of them, and the fullest bucket a quarter of what 32 bits hold.
    const length = (value: bigint): number => value.toString(2).length;
    const shift = Math.max(
      0,
      Math.min(...all.map(({ interval }) => length(interval))) - 13,
      ...all.map(({ interval, burst }) => length(interval * BigInt(burst + 1)) - 30),
    );
    const price = Number((bucket.interval + 2n ** BigInt(shift) - 1n) / 2n ** BigInt(shift));
    const ticks = Number((now >> BigInt(shift)) & 0xffff_ffffn);
    const lines = this.#meters.get(name) ?? new Map<number, Uint32Array>();
    this.#meters.set(name, lines);
    const lineIndex = Number(hash & BigInt(this.#policy.cells / 16 - 1));
    const line = lines.get(lineIndex) ?? new Uint32Array(16);
    lines.set(lineIndex, line);
    const places = [Number((hash >> 32n) & 7n), 8 + Number((hash >> 35n) & 7n)];
    const debt = places.map((place) => {
      const ahead = (line[place]! - ticks) >>> 0;
      return ahead > price * bucket.burst ? 0 : ahead;
    });
    const owed = Math.min(...debt);
    if (owed > price * (bucket.burst - 1)) return false;
    places.forEach((place, at) => {
      if (debt[at]! < owed + price) line[place] = ticks + owed + price;
    });
    return true;
  }

  /** A CPU takes the service's tokens in batches of an eighth of the smallest bucket, 64 at most. */
  #takeService(index: number, { interval, burst }: Bucket, now: bigint): boolean {
    const bursts = this.#policy.services.flatMap(({ limits }) => (limits.service ? [limits.service.burst] : []));
    const batch = Math.max(1, Math.min(64, Math.floor(Math.min(...bursts) / 8)));
    const state = this.#services[index]!;
    if (state.tokens > 0) {
      state.tokens--;
      return true;
    }
    const start = state.paid > now ? state.paid : now;
    const cost = interval * BigInt(batch);
    if (start + cost - now > interval * BigInt(burst)) return false;
    state.paid = start + cost;
    state.tokens = batch - 1;
    return true;
  }
}

function inNetwork(address: Buffer, text: string): boolean {
  const [host = '', length] = text.split('/');
  const network = host.includes(':') ? bytes6(host) : Buffer.from(host.split('.').map(Number));
  if (network.length !== address.length) return false;
  const bits = length === undefined ? address.length * 8 : Number(length);
  const binary = (bytes: Buffer): string => [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  return binary(network).slice(0, bits) === binary(address).slice(0, bits);
}

function bytes6(text: string): Buffer {
  const [left = '', right] = text.split('::');
  const groups = (part: string): number[] => (part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16)));
  const [head, tail] = [groups(left), groups(right ?? '')];
  const all = right === undefined ? head : [...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail];
  const bytes = Buffer.alloc(16);
  all.forEach((group, index) => bytes.writeUInt16BE(group, index * 2));
  return bytes;
}

function serves({ addresses, ports }: Service, { destination, tcp }: Syn): boolean {
  const port = tcp.readUInt16BE(2);
  const here =
    addresses.length === 0 ||
    addresses.some(({ address, bits }) => {
      if (address.length !== destination.length) return false;
      for (let bit = 0; bit < bits; bit++) {
        const mask = 0x80 >> (bit % 8);
        if ((address[bit >> 3]! & mask) !== (destination[bit >> 3]! & mask)) return false;
      }
      return true;
    });
  return here && (ports.length === 0 || ports.some(({ first, last }) => port >= first && port <= last));
}

function impossible(source: Buffer): boolean {
  if (source.length === 4) return source[0] === 0 || source[0] === 127 || source[0]! >= 224;
  const text = source.toString('hex');
  return text.startsWith('ff') || /^0{31}[01]$/.test(text) || text.startsWith('00000000000000000000ffff');
}

/** The words with all but the leading bits cleared, without those that have none left. */
function keptBits(words: readonly bigint[], bits: number): bigint[] {
  return words.slice(0, Math.ceil(bits / 64)).map((word, index) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(word);
    for (let bit = Math.min(64, bits - index * 64); bit < 64; bit++) bytes[bit >> 3]! &= ~(0x80 >> (bit % 8));
    return bytes.readBigUInt64LE();
  });
}
