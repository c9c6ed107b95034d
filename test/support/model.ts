/**
 * The decision list in plain TypeScript, from the bytes of a frame to verdict and reason. Written from the documents for clarity;
 * it shares no code with the generator, so that the two can be compared.
 */
import type { ReasonName, VerdictName } from '../../src/dataplane/outcome/reason.ts';
import type { Bucket, Policy, Service } from '../../src/policy/policy.ts';
import { frame as build, ipv4, ipv6, tcp as tcpLayer } from '../../src/net/build.ts';

const M64 = (1n << 64n) - 1n;

/** The secrets of the hash, as the kernel has them. */
export interface ModelKeys {
  /** Of IPv4, and of IPv6. */
  readonly hashStart: readonly bigint[];
  readonly hashMultiplier: bigint;
  readonly hashFinish: bigint;
  readonly cookie: readonly bigint[];
}

export interface Judged {
  readonly verdict: VerdictName;
  readonly reason: ReasonName;
  /** The frame afterwards. */
  readonly data: Buffer;
}

/** What a source proved: nothing, or its address, within its wide limit or over it. */
type Proven = 'no' | 'within' | 'over';

type ModelForm = 'assign' | 'kernel' | 'reset';

/** How SYNs are challenged, and where somebody listens. */
export interface ModelChallenger {
  readonly form: ModelForm;
  /** What the words of a policy come to, where they differ. */
  readonly forms?: Readonly<Partial<Record<Service['form'], ModelForm>>>;
  readonly listening: ReadonlySet<number>;
  /** The kernel's secrets are its own: the cookie for a packet of IP and TCP header, as it gives it to whoever asks. For the form `kernel`. */
  readonly kernelCookie?: (packet: Buffer) => number;
  /** Whether timestamps of the host are its clock's, so that an answer may have them. For the form `kernel`. */
  readonly plainTimestamps?: boolean;
}

/** A host that has no connections, and listens on these ports. Every address is its own. */
export interface ModelHost {
  readonly listening: ReadonlySet<number>;
}

/** What the listener is told of a connection whose cookie came back. */
export interface ModelAccepted {
  readonly mss: number;
  /** The client's; undefined where it does not scale. */
  readonly windowScale: number | undefined;
  readonly sack: boolean;
  readonly ecn: boolean;
  readonly timestamps: boolean;
}

/** Thrown by a stage that ends the path. */
class End {
  readonly reason: ReasonName;
  readonly answer: Buffer | undefined;
  constructor(reason: ReasonName, answer?: Buffer) {
    this.reason = reason;
    this.answer = answer;
  }
}
const end = (reason: ReasonName, answer?: Buffer): never => {
  throw new End(reason, answer);
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
  readonly frame: Buffer;
  /** Where IP begins. */
  readonly start: number;
}

const PASSES = new Set<ReasonName>([
  'not-ip',
  'not-tcp',
  'later-fragment',
  'not-syn',
  'allowed',
  'no-service',
  'verified',
  'within-limit',
]);

/** What two bits of a cookie stand for (net/ipv4/syncookies.c, net/ipv6/syncookies.c). */
const MSS_CLASSES = { 4: [536, 1300, 1440, 1460], 6: [1220, 1420, 1440, 8940] } as const;

/** A service's bucket, and what one CPU took of it beforehand. */
interface CpuBucket {
  paid: bigint;
  tokens: number;
}

export class Model {
  readonly #policy: Policy;
  readonly #keys: ModelKeys;
  readonly #meters = new Map<string, Map<number, Uint32Array>>();
  readonly #services: {
    /** The bucket of all sources, and that of verified ones. */
    buckets: readonly [CpuBucket, CpuBucket];
    pending: number;
    challengeUntil: bigint;
    /** How often the price of verified sources is doubled, and when that was raised: to 256 ns, with the level in place of what is below. */
    level: number;
    raised: bigint;
  }[];

  readonly #challenger: ModelChallenger | undefined;
  /** Sources that proved themselves: until when in nanoseconds, and their own arrival time in ticks. Unbounded, where the kernel has four places a line. */
  readonly #verified = new Map<string, { until: bigint; paid: number }>();
  #verifiedUntil = 0n;
  #challengedUntil = 0n;
  /** The kernel's cookies that were sent, by addresses and ports, less what depends on the SYN: its sequence number and MSS class. */
  readonly #kernelCookies = new Map<string, Set<number>>();
  /** Sequence and acknowledgement numbers of ACKs that made a connection. Unbounded, where the kernel knows some of the last 2^17. */
  readonly #redeemed = new Set<string>();

  /** Where the IP header begins: behind Ethernet and its tags, or at once. */
  readonly #link: 'ethernet' | 'ip';
  readonly #host: ModelHost | undefined;
  /** What was taken from each service's budget of strays. */
  readonly #strays: { paid: bigint; tokens: number }[];

  constructor(
    policy: Policy,
    keys: ModelKeys,
    challenger?: ModelChallenger,
    link: 'ethernet' | 'ip' = 'ethernet',
    host?: ModelHost,
  ) {
    this.#link = link;
    this.#host = host;
    this.#strays = policy.services.map(() => ({ paid: 0n, tokens: 0 }));
    this.#policy = policy;
    this.#keys = keys;
    this.#challenger = policy.services.some(({ challenge }) => challenge !== 'off') ? challenger : undefined;
    this.#services = policy.services.map(() => ({
      buckets: [
        { paid: 0n, tokens: 0 },
        { paid: 0n, tokens: 0 },
      ],
      pending: 0,
      challengeUntil: 0n,
      level: 0,
      raised: 0n,
    }));
  }

  judge(frame: Buffer, now: bigint): Judged {
    try {
      return this.#decide(frame, now);
    } catch (error) {
      if (!(error instanceof End)) throw error;
      const { reason, answer } = error;
      const passes = PASSES.has(reason) || this.#policy.dryRun;
      if (answer && !passes) return { reason, verdict: 'answer', data: answer };
      return { reason, verdict: passes ? 'pass' : 'drop', data: frame };
    }
  }

  /** The half in traffic control, of the form `assign`: the connection that an ACK makes, undefined where it makes none, or why it is dropped. */
  accept(frame: Buffer, now: bigint): ModelAccepted | 'over-redeemed' | undefined {
    if (!this.#holds('assign') || this.#challengedUntil <= now) return undefined;
    try {
      const segment = this.#parse(frame);
      const { tcp, family, source } = segment;
      if (segment.fragmented || (tcp[13]! & 0x16) !== 0x10) return undefined;
      if (!this.#challenger!.listening.has(tcp.readUInt16BE(2))) return undefined;
      const { timestamp, echo } = readOffer(this.#checkHeader(segment).bytes);
      const timestamps = timestamp !== undefined;
      const { ours, extra } = this.#bringsCookie(segment, echo, now);
      if (!ours) return undefined;
      // A cookie makes one connection.
      const both = tcp.toString('hex', 4, 12);
      if (this.#redeemed.has(both)) return undefined;
      const index = this.#policy.services.findIndex((service) => serves(service, segment));
      if (index < 0) return undefined;
      this.#remember(source, now);
      // A source may redeem two buckets, and its service is charged where it has a token.
      if (!this.#payVerified(this.#verified.get(sourceKey(source))!, index, now, 2)) return 'over-redeemed';
      const { service } = this.#policy.services[index]!.limits;
      if (service && !this.#takeService(this.#services[index]!.buckets[1], service, now)) this.#raiseLevel(index, now);
      this.#redeemed.add(both);
      if (!timestamps)
        return {
          mss: MSS_CLASSES[family][(extra >>> 2) & 3]!,
          windowScale: [undefined, undefined, 2, 7][extra & 3],
          sack: (extra & 3) !== 0,
          ecn: false,
          timestamps,
        };
      const scale = (extra >>> 2) & 15;
      return {
        mss: (extra >>> 6) & 0x3fff,
        windowScale: scale === 15 ? undefined : scale,
        sack: (extra & 2) !== 0,
        ecn: (extra & 1) !== 0,
        timestamps,
      };
    } catch (error) {
      if (error instanceof End) return undefined;
      throw error;
    }
  }

  /** Whether the ACK brings a cookie of ours, and what the cookie says. */
  #bringsCookie(segment: Syn, echo: Buffer | undefined, now: bigint): { ours: boolean; extra: number } {
    const { tcp } = segment;
    const cookie = (tcp.readUInt32BE(8) - 1) >>> 0;
    const isn = (tcp.readUInt32BE(4) - 1) >>> 0;
    const extra = echo ? echo.readUInt32BE() : ((cookie & 0xf) | 0x8000_0700) >>> 0;
    const slot = now >> 35n;
    const ours = [slot, slot - 1n].some((one) => {
      const mac = this.#cookie(segment, isn, one, extra);
      return echo ? mac === cookie : (mac & 0xfff_ffff) === cookie >>> 4;
    });
    return { ours, extra };
  }

  #decide(frame: Buffer, now: bigint): never {
    const syn = this.#parse(frame);
    const flags = syn.tcp[13]!;
    if ((flags & 0x12) !== 0x02) {
      if (this.#host) this.#state(syn, this.#host, now);
      this.#opensNothing(syn, now);
    }
    const source = syn.source;
    if (this.#inList(source, this.#policy.lists.allow)) end('allowed');
    if (this.#inList(source, this.#policy.lists.deny)) end('denied');
    const index = this.#policy.services.findIndex((service) => serves(service, syn));
    if (index < 0) end('no-service');
    const options = this.#checkHeader(syn);
    this.#sanity(syn, options);
    const mode = this.#policy.services[index]!.challenge;
    const form = this.#formOf(this.#policy.services[index]!);
    const canAnswer = form === 'reset' || (this.#challenger?.listening.has(syn.tcp.readUInt16BE(2)) ?? false);
    const proven = this.#challenger ? this.#askVerified(syn.source, index, now) : 'no';
    if (this.#challenger && proven === 'no') {
      if (this.#allChallenged(index, mode, now) && canAnswer) this.#challenge(syn, form!, options.bytes, now);
    }
    try {
      return this.#limits(syn, index, proven, now);
    } catch (over) {
      if (!(over instanceof End) || over.reason === 'within-limit' || over.reason === 'verified') throw over;
      if (this.#challenger && mode !== 'off' && canAnswer) return this.#challenge(syn, form!, options.bytes, now);
      throw over;
    }
  }

  #formOf({ form }: Service): ModelForm | undefined {
    return this.#challenger?.forms?.[form] ?? this.#challenger?.form;
  }

  /** Whether some service is challenged in this form. */
  #holds(form: ModelForm): boolean {
    return this.#policy.services.some((one) => one.challenge !== 'off' && this.#formOf(one) === form);
  }

  #askVerified(source: Buffer, index: number, now: bigint): Proven {
    if (this.#verifiedUntil <= now) return 'no';
    const entry = this.#verified.get(sourceKey(source));
    if (!entry || entry.until <= now) return 'no';
    return this.#payVerified(entry, index, now, 1) ? 'within' : 'over';
  }

  /** Whether all SYNs of a service are challenged. While they are, every batch of them moves the end on at twice its price. */
  #allChallenged(index: number, mode: Service['challenge'], now: bigint): boolean {
    if (mode !== 'auto') return mode === 'always';
    const state = this.#services[index]!;
    const { service } = this.#policy.services[index]!.limits;
    if (!service || state.challengeUntil <= now) return false;
    if (++state.pending >= this.#batch()) {
      state.pending = 0;
      const next = state.challengeUntil + 2n * BigInt(this.#batch()) * service.interval;
      const latest = now + 10_000_000_000n;
      state.challengeUntil = next < latest ? next : latest;
    }
    return true;
  }

  #batch(): number {
    const bursts = this.#policy.services.flatMap(({ limits }) => (limits.service ? [limits.service.burst] : []));
    return Math.max(1, Math.min(64, Math.floor(Math.min(...bursts) / 8)));
  }

  #cookie({ source, destination, tcp }: Syn, isn: number, slot: bigint, extra: number): number {
    const address = (bytes: Buffer): bigint[] =>
      bytes.length === 4 ? [] : [bytes.readBigUInt64LE(0), bytes.readBigUInt64LE(8)];
    const words =
      source.length === 4
        ? [BigInt(source.readUInt32LE()) | (BigInt(destination.readUInt32LE()) << 32n)]
        : [...address(source), ...address(destination)];
    words.push(BigInt(tcp.readUInt32LE(0)) | (BigInt(isn) << 32n));
    words.push((slot & 0xffff_ffffn) | (BigInt(extra >>> 0) << 32n));
    const at = Number(slot & 3n) * 2;
    return Number(sipHash13(this.#keys.cookie[at]!, this.#keys.cookie[at + 1]!, words) & 0xffff_ffffn);
  }

  /** Whether the checksum is neither right nor that of the pseudo header alone, which a device was to finish. */
  #hasWrongChecksum({ source, destination, tcp, length }: Syn): boolean {
    // Not asked where data and fragments may come.
    if (!this.#policy.sanity.has('syn-payload') || !this.#policy.sanity.has('syn-fragment')) return false;
    const words = (bytes: Buffer): number => {
      let sum = 0;
      for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
      return sum;
    };
    const pseudo = words(source) + words(destination) + 6 + length;
    const whole = (pseudo + words(tcp.subarray(0, length))) % 0xffff === 0;
    return !whole && pseudo % 0xffff !== tcp.readUInt16BE(16) % 0xffff;
  }

  #challenge(syn: Syn, form: ModelForm, options: Buffer, now: bigint): never {
    if (this.#hasWrongChecksum(syn)) end('tcp-checksum');
    if (this.#challengedUntil < now + (2n << 35n)) this.#challengedUntil = now + (2n << 35n) + 1_000_000_000n;
    const { tcp, family } = syn;
    const isn = tcp.readUInt32BE(4);
    const slot = now >> 35n;
    const answer = (seq: number, ack: number, extra: number[], ecn: boolean): Buffer => {
      const addresses = { src: text(syn.destination), dst: text(syn.source) };
      const packet = build([
        family === 4 ? ipv4(addresses) : ipv6(addresses),
        tcpLayer({
          source: tcp.readUInt16BE(2),
          dest: tcp.readUInt16BE(0),
          seq,
          ack: ack >>> 0,
          flags: 0x12 | (ecn ? 0x40 : 0),
          window: 64_240,
          options: Uint8Array.from(extra),
        }),
      ]);
      const { frame, start } = syn;
      if (this.#link === 'ip') return packet;
      const link = Buffer.concat([frame.subarray(6, 12), frame.subarray(0, 6), frame.subarray(12, start)]);
      const whole = Buffer.concat([link, packet]);
      // What came padded to the smallest frame goes out no shorter.
      return whole.length < 60 && frame.length >= 60 ? Buffer.concat([whole, frame.subarray(whole.length, 60)]) : whole;
    };
    const offer = readOffer(options);
    const ecn = (tcp[13]! & 0xc0) === 0xc0;
    const mss = offer.mss ?? (family === 4 ? 536 : 1220);
    const scale = offer.scale === undefined ? 15 : Math.min(14, offer.scale);
    const classes = MSS_CLASSES[family];
    const mssClass = Math.max(
      0,
      classes.findLastIndex((size) => mss >= size),
    );
    const bits = (scale << 2) | (offer.sack ? 2 : 0) | (ecn ? 1 : 0);
    const ours = family === 4 ? 1460 : 1440;
    const mssOption = [2, 4, ours >> 8, ours & 0xff];
    const scaleOption = offer.scale === undefined ? [] : [1, 3, 3, 7];
    if (form === 'reset') {
      // A program that holds other forms too has one way of writing options.
      const extra = this.#holds('assign') || this.#holds('kernel') ? mssOption : [];
      return end('challenged', answer(isn, this.#cookie(syn, 0, slot, 0xffff_ffff), extra, false));
    }
    if (form === 'kernel') {
      const cookie = this.#kernelCookie(syn, mss, mssClass);
      if (!this.#challenger!.plainTimestamps || !offer.timestamp)
        return end('challenged', answer(cookie, isn + 1, mssOption, false));
      // The newest millisecond that is not ahead of the clock and has the options in its low six bits.
      const clock = now / 1_000_000n;
      const low = BigInt((ecn ? 32 : 0) | (offer.sack ? 16 : 0) | scale);
      const stamp = Buffer.alloc(4);
      stamp.writeUInt32BE(Number((clock - ((clock - low) & 63n)) & 0xffff_ffffn));
      const sack = offer.sack ? [4, 2] : [1, 1];
      const extra = [...mssOption, ...sack, 8, 10, ...stamp, ...offer.timestamp, ...scaleOption];
      return end('challenged', answer(cookie, isn + 1, extra, ecn));
    }
    if (offer.timestamp) {
      const tsval = 0x4070_0000 | (Math.max(MSS_CLASSES[family][0], Math.min(mss, 0x3fff)) << 6) | bits;
      const stamp = Buffer.alloc(4);
      stamp.writeUInt32BE(tsval);
      const extra = [
        ...mssOption,
        ...(offer.sack ? [4, 2] : [1, 1]),
        8,
        10,
        ...stamp,
        ...offer.timestamp,
        ...scaleOption,
      ];
      return end('challenged', answer(this.#cookie(syn, isn, slot, tsval), isn + 1, extra, ecn));
    }
    // Two bits are left for the options: none, SACK, SACK with a scale of 2 to 6, SACK with a scale of 7 or more.
    const scales = offer.sack && offer.scale !== undefined && offer.scale >= 2;
    const data = (mssClass << 2) | (scales ? (offer.scale! >= 7 ? 3 : 2) : offer.sack ? 1 : 0);
    const mac = this.#cookie(syn, isn, slot, data | 0x8000_0700);
    const extra = [...mssOption];
    if (offer.sack) extra.push(1, 1, 4, 2, ...(scales ? scaleOption : []));
    return end('challenged', answer(((mac << 4) | data) >>> 0, isn + 1, extra, false));
  }

  #kernelCookie({ family, source, destination, tcp }: Syn, mss: number, mssClass: number): number {
    const addresses = { src: text(source), dst: text(destination) };
    const isn = tcp.readUInt32BE(4);
    const ports = { source: tcp.readUInt16BE(0), dest: tcp.readUInt16BE(2) };
    const segment = tcpLayer({ ...ports, seq: isn, flags: 2, options: [{ kind: 'mss', size: mss }] });
    const cookie = this.#challenger!.kernelCookie!(build([family === 4 ? ipv4(addresses) : ipv6(addresses), segment]));
    const sent = this.#kernelCookies.get(tupleKey(source, destination, tcp)) ?? new Set();
    this.#kernelCookies.set(tupleKey(source, destination, tcp), sent.add((cookie - isn - mssClass) >>> 0));
    return cookie;
  }

  #parse(frame: Buffer): Syn {
    if (this.#link === 'ip') {
      const place = { frame, start: 0 };
      if (frame[0]! >> 4 === 4) return { ...this.#parse4(frame), ...place };
      if (frame[0]! >> 4 === 6) return { ...this.#parse6(frame), ...place };
      return end('not-ip');
    }
    let at = 12;
    let type = frame.readUInt16BE(at);
    at += 2;
    for (let tags = 0; type === 0x8100 || type === 0x88a8 || type === 0x9100; tags++) {
      if (tags === 2) end('vlan-depth');
      if (frame.length < at + 4) end('truncated');
      type = frame.readUInt16BE(at + 2);
      at += 4;
    }
    const place = { frame, start: at };
    if (type === 0x0800) return { ...this.#parse4(frame.subarray(at)), ...place };
    if (type === 0x86dd) return { ...this.#parse6(frame.subarray(at)), ...place };
    return end('not-ip');
  }

  #parse4(ip: Buffer): Omit<Syn, 'frame' | 'start'> {
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
    return {
      family: 4,
      source: ip.subarray(12, 16),
      destination: ip.subarray(16, 20),
      tcp,
      length: total - headerLength,
      fragmented: more,
      ipv4Header: ip.subarray(0, headerLength),
    };
  }

  #parse6(ip: Buffer): Omit<Syn, 'frame' | 'start'> {
    if (ip.length < 40) end('truncated');
    if (ip[0]! >> 4 !== 6) end('bad-ip-header');
    let next = ip[6]!;
    let at = 40;
    let fragmented = false;
    const chained = new Set([0, 43, 44, 51, 60]);
    const payload = ip.readUInt16BE(4);
    for (let headers = 0; chained.has(next); headers++) {
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
          if (at - 40 + 8 > payload) end('bad-length');
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
    if (at - 40 > payload) end('bad-length');
    if (next !== 6) end('not-tcp');
    if (payload > ip.length - 40 || payload < at - 40 + 20) end('bad-length');
    return {
      family: 6,
      source: ip.subarray(8, 24),
      destination: ip.subarray(24, 40),
      tcp: ip.subarray(at),
      length: payload - (at - 40),
      fragmented,
      ipv4Header: undefined,
    };
  }

  /** Ends a segment that belongs to nothing, over the budget of its service. */
  #state(syn: Syn, { listening }: ModelHost, now: bigint): void {
    const { services, lists } = this.#policy;
    const index = services.findIndex((service) => serves(service, syn));
    if (index < 0 || services[index]!.state === 'off') return;
    const { tcp } = syn;
    const flags = tcp[13]!;
    if (this.#challengedUntil > now) {
      if (this.#holds('reset') && (flags & 4) !== 0) {
        const slot = now >> 35n;
        const seq = tcp.readUInt32BE(4);
        if ([slot, slot - 1n].some((one) => this.#cookie(syn, 0, one, 0xffff_ffff) === seq)) return;
      }
      if (this.#holds('assign') && (flags & 0x16) === 0x10 && listening.has(tcp.readUInt16BE(2))) {
        const { echo } = readOffer(this.#checkHeader(syn).bytes);
        if (this.#bringsCookie(syn, echo, now).ours) return;
      }
    }
    if (this.#takeStray(index, now) || this.#inList(syn.source, lists.allow)) return;
    end('stray');
  }

  /** Takes a token of the budget of strays, of which the CPU has a batch. Gives whether there was one. */
  #takeStray(index: number, now: bigint): boolean {
    const { services } = this.#policy;
    const { interval, burst } = services[index]!.limits.strays;
    const state = this.#strays[index]!;
    if (state.tokens > 0) {
      state.tokens--;
      return true;
    }
    const bursts = services.filter((one) => one.state !== 'off').map(({ limits }) => limits.strays.burst);
    const batch = Math.max(1, Math.min(256, Math.floor(Math.min(...bursts) / 8)));
    const start = state.paid > now ? state.paid : now;
    const cost = interval * BigInt(batch);
    if (start + cost - now > interval * BigInt(burst)) return false;
    state.paid = start + cost;
    state.tokens = batch - 1;
    return true;
  }

  /** Not a SYN; it may be the RST or the ACK that answers a challenge. */
  #opensNothing(syn: Syn, now: bigint): never {
    const { tcp } = syn;
    if (this.#holds('reset') && this.#challengedUntil > now && (tcp[13]! & 4) !== 0) {
      const slot = now >> 35n;
      const seq = tcp.readUInt32BE(4);
      if ([slot, slot - 1n].some((one) => this.#cookie(syn, 0, one, 0xffff_ffff) === seq)) {
        this.#remember(syn.source, now);
        return end('proof');
      }
    }
    if (this.#holds('kernel') && this.#challengedUntil > now && (tcp[13]! & 0x16) === 0x10) {
      const known = this.#verified.get(sourceKey(syn.source));
      const sent = this.#kernelCookies.get(tupleKey(syn.source, syn.destination, tcp)) ?? [];
      const claimed = (tcp.readUInt32BE(8) - tcp.readUInt32BE(4)) >>> 0;
      const proves = [...sent].some((one) => (claimed - one) >>> 0 < MSS_CLASSES[syn.family].length);
      if (proves && (known?.until ?? 0n) <= now) this.#remember(syn.source, now);
    }
    return end('not-syn');
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

  #limits({ source, family }: Syn, index: number, proven: Proven, now: bigint): never {
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
      return this.#take(
        name,
        family,
        key,
        bucket,
        all.filter((one) => one !== undefined),
        now,
      );
    };
    // A service without tokens stops everything, and charges nobody.
    if (proven === 'no' && limits.service && this.#serviceIsEmpty(index, limits.service, now)) end('over-service');
    if (
      proven === 'no' &&
      !meter(
        'source',
        128,
        limits.source,
        services.map((one) => one.limits.source),
      )
    )
      end('over-source');
    services[0]!.limits.prefixes.forEach(({ family: of, bits }, at) => {
      if (of !== family) return;
      // A verified source's network is asked only while verified sources are too many.
      if (proven !== 'no' && !(proven === 'within' && limits.service && this.#level(index, now) > 0)) return;
      const all = services.map((one) => one.limits.prefixes[at]);
      if (!meter(`prefix ${String(at)}`, bits, limits.prefixes[at], all)) end('over-prefix');
    });
    if (proven === 'over') {
      // It passes where verified sources have half of the service's tokens to spare.
      const { interval, burst } = limits.service ?? { interval: 0n, burst: 0 };
      const [, bucket] = this.#services[index]!.buckets;
      if (limits.service && this.#takeService(bucket, { interval, burst }, now, (interval * BigInt(burst)) / 2n))
        end('verified');
      end('over-verified');
    }
    const bucket = this.#services[index]!.buckets[proven === 'no' ? 0 : 1];
    if (limits.service && !this.#takeService(bucket, limits.service, now)) {
      if (proven === 'no') {
        this.#turnOn(index, now);
        end('over-service');
      }
      this.#raiseLevel(index, now);
    }
    return end(proven === 'no' ? 'within-limit' : 'verified');
  }

  /** A key's token bucket in two cells of 32 bits. */
  #take(
    name: string,
    family: 4 | 6,
    key: readonly bigint[],
    bucket: Bucket,
    all: readonly Bucket[],
    now: bigint,
  ): boolean {
    let hash = this.#keys.hashStart[family === 4 ? 0 : 1]!;
    for (const word of key) {
      hash = ((hash ^ word) * this.#keys.hashMultiplier) & M64;
      hash ^= hash >> 32n;
    }
    hash = (hash * this.#keys.hashFinish) & M64;
    hash ^= hash >> 32n;
    const { price, ticks } = inTicks(bucket, all, now);
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

  #serviceIsEmpty(index: number, { interval, burst }: Bucket, now: bigint): boolean {
    const [state] = this.#services[index]!.buckets;
    const cost = interval * BigInt(this.#batch());
    if (state.tokens > 0 || state.paid <= now || state.paid + cost - now <= interval * BigInt(burst)) return false;
    this.#turnOn(index, now);
    return true;
  }

  #turnOn(index: number, now: bigint): void {
    const state = this.#services[index]!;
    const automatic = this.#challenger && this.#policy.services[index]!.challenge === 'auto';
    if (automatic && state.challengeUntil <= now) state.challengeUntil = now + 10_000_000_000n;
  }

  /** It falls by one in 2^31 ns. */
  #level(index: number, now: bigint): number {
    const { level, raised } = this.#services[index]!;
    return raised > now ? level : Math.max(0, level - Number((now - raised) >> 31n));
  }

  /** By one in 20 ms, and no further than that a SYN costs all that a source's bucket holds. */
  #raiseLevel(index: number, now: bigint): void {
    const state = this.#services[index]!;
    if (now <= state.raised + 20_000_000n) return;
    const level = this.#level(index, now);
    const { burst } = this.#policy.services[index]!.limits.verified;
    state.level = 2 ** (level + 1) <= burst ? level + 1 : level;
    state.raised = (now & ~0xffn) | BigInt(state.level);
  }

  #remember(source: Buffer, now: bigint): void {
    const until = now + this.#policy.remember;
    const known = this.#verified.get(sourceKey(source));
    const all = this.#policy.services.map(({ limits }) => limits.verified);
    this.#verified.set(sourceKey(source), { until, paid: known?.paid ?? inTicks(all[0]!, all, now, 4).ticks });
    this.#verifiedUntil = until;
  }

  /** Takes a token of a verified source that may owe so many buckets. */
  #payVerified(entry: { paid: number }, index: number, now: bigint, buckets: number): boolean {
    const all = this.#policy.services.map(({ limits }) => limits.verified);
    const { service } = this.#policy.services[index]!.limits;
    const { burst } = all[index]!;
    const { price, ticks } = inTicks(all[index]!, all, now, 4);
    const ahead = (entry.paid - ticks) >>> 0;
    const owed = ahead > 3 * price * burst ? 0 : ahead;
    if (owed > price * (burst * buckets - 1)) return false;
    entry.paid = (ticks + owed + price * 2 ** (service ? this.#level(index, now) : 0)) >>> 0;
    return true;
  }

  /** A CPU takes the service's tokens in batches of an eighth of the smallest bucket, 64 at most. */
  #takeService(
    state: CpuBucket,
    { interval, burst }: Pick<Bucket, 'interval' | 'burst'>,
    now: bigint,
    credit = interval * BigInt(burst),
  ): boolean {
    const batch = this.#batch();
    if (state.tokens > 0) {
      state.tokens--;
      return true;
    }
    const start = state.paid > now ? state.paid : now;
    const cost = interval * BigInt(batch);
    if (start + cost - now > credit) return false;
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
  const groups = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
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

/** The finest tick with which an interval has 4096 of them, and so many of the fullest bucket a quarter of what 32 bits hold. */
function inTicks(bucket: Bucket, all: readonly Bucket[], now: bigint, buckets = 1): { price: number; ticks: number } {
  const length = (value: bigint): number => value.toString(2).length;
  const shift = Math.max(
    0,
    Math.min(...all.map(({ interval }) => length(interval))) - 13,
    ...all.map(({ interval, burst }) => length(interval * BigInt(burst + 1) * BigInt(buckets)) - 30),
  );
  const price = Number((bucket.interval + 2n ** BigInt(shift) - 1n) / 2n ** BigInt(shift));
  return { price, ticks: Number((now >> BigInt(shift)) & 0xffff_ffffn) };
}

/** IPv6 sources are known by their first half. */
const sourceKey = (source: Buffer): string => `${String(source.length)} ${source.subarray(0, 8).toString('hex')}`;

/** Addresses and ports of a segment. */
const tupleKey = (source: Buffer, destination: Buffer, tcp: Buffer): string =>
  Buffer.concat([source, destination, tcp.subarray(0, 4)]).toString('hex');

function text(address: Buffer): string {
  if (address.length === 4) return [...address].join('.');
  return Array.from({ length: 8 }, (_, index) => address.readUInt16BE(index * 2).toString(16)).join(':');
}

/** Options of a segment; timestamp and echo as they lie in the frame. */
interface Offered {
  mss?: number;
  scale?: number;
  sack: boolean;
  timestamp?: Buffer;
  echo?: Buffer;
}

function readOffer(options: Buffer): Offered {
  const offer: Offered = { sack: false };
  for (let at = 0; at < options.length && options[at] !== 0;) {
    if (options[at] === 1) {
      at++;
      continue;
    }
    const size = options[at + 1]!;
    if (size < 2 || at + size > options.length) break;
    if (options[at] === 2 && size === 4) offer.mss = options.readUInt16BE(at + 2);
    if (options[at] === 3 && size === 3) offer.scale = options[at + 2]!;
    if (options[at] === 4 && size === 2) offer.sack = true;
    if (options[at] === 8 && size === 10) {
      offer.timestamp = options.subarray(at + 2, at + 6);
      offer.echo = options.subarray(at + 6, at + 10);
    }
    at += size;
  }
  return offer;
}

/** SipHash-1-3 of whole words (Aumasson and Bernstein, 2012). */
function sipHash13(k0: bigint, k1: bigint, words: readonly bigint[]): bigint {
  const rotate = (value: bigint, bits: bigint): bigint => ((value << bits) | (value >> (64n - bits))) & M64;
  const v = [k0 ^ 0x736f6d6570736575n, k1 ^ 0x646f72616e646f6dn, k0 ^ 0x6c7967656e657261n, k1 ^ 0x7465646279746573n];
  const round = (): void => {
    v[0] = (v[0]! + v[1]!) & M64;
    v[1] = rotate(v[1]!, 13n) ^ v[0];
    v[0] = rotate(v[0], 32n);
    v[2] = (v[2]! + v[3]!) & M64;
    v[3] = rotate(v[3]!, 16n) ^ v[2];
    v[0] = (v[0] + v[3]) & M64;
    v[3] = rotate(v[3], 21n) ^ v[0];
    v[2] = (v[2] + v[1]) & M64;
    v[1] = rotate(v[1], 17n) ^ v[2];
    v[2] = rotate(v[2], 32n);
  };
  for (const word of [...words, BigInt(words.length * 8) << 56n]) {
    v[3]! ^= word;
    round();
    v[0]! ^= word;
  }
  v[2]! ^= 0xffn;
  for (let index = 0; index < 3; index++) round();
  return v[0]! ^ v[1]! ^ v[2]! ^ v[3]!;
}
