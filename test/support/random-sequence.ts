/**
 * Sequences of frames that may or may not amount to a SYN: what real clients send, odd and broken frames, datagrams in pieces. From a seed;
 * each with a source of its own, so that thousands can be judged at once. Over 300 lines because a sequence is one thing with many dimensions.
 */
import { client, server } from '../../lab/topology.ts';
import { ethernet, frame, ipv4, ipv6, ipv6Extension, type Layer, tcp, udp, vlan } from '../../src/net/build.ts';
import { internetChecksum } from '../../src/net/checksum.ts';
import { ETH_P, IPPROTO, TCP_FLAG } from '../../src/net/headers.ts';
import { LINUX_SYN_OPTIONS, type TcpOption } from '../../src/net/tcp-options.ts';
import type { Random } from './random-frame.ts';

export interface Sequence {
  readonly frames: readonly Buffer[];
  /** A SYN as some real client sends it: no protection may drop it. */
  readonly real: boolean;
}

/** Who sends: the slot is the last 16 bits of the address, the generation tells apart who had the slot before. */
interface Source {
  readonly slot: number;
  readonly four: string;
  readonly six: string;
  readonly port: number;
}

export function sourceOf(slot: number, generation: number): Source {
  const second = 64 + (generation % 128);
  return {
    slot,
    four: `10.${String(second)}.${String(slot >> 8)}.${String(slot & 0xff)}`,
    six: `fd00:1:${(generation & 0xffff).toString(16)}::${slot.toString(16)}`,
    port: 1024 + ((generation * 7919) % 60_000),
  };
}

/** A datagram before it is cut: what each piece repeats, what is cut, and the number of what is cut begins with. */
interface Datagram {
  readonly family: 4 | 6;
  /** IPv4: the header. IPv6: the header and the extension headers of the part that is not cut. */
  readonly head: Buffer;
  readonly next: number;
  readonly body: Buffer;
}

const maybe = <T>(random: Random, share: number, value: () => T): T | undefined =>
  random.chance(share) ? value() : undefined;

function shuffle<T>(random: Random, items: readonly T[]): T[] {
  const left = [...items];
  return items.map(() => left.splice(random.below(left.length), 1)[0]!);
}

function bytes(random: Random, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => random.below(256)));
}

/** Options that Linux, Windows, BSDs and phones send, by what is switched on. */
function realOptions(random: Random): TcpOption[] {
  const [sack, timestamps, scale] = [random.chance(0.8), random.chance(0.7), random.chance(0.9)];
  const list: TcpOption[] = [{ kind: 'mss', size: random.pick([536, 1220, 1360, 1400, 1440, 1460, 8940]) }];
  const nop: TcpOption = { kind: 'nop' };
  if (timestamps) {
    list.push(...(sack ? [{ kind: 'sackPermitted' } as const] : [nop, nop]));
    list.push({ kind: 'timestamps', value: random.below(2 ** 32), echo: 0 });
  } else if (sack) list.push(nop, nop, { kind: 'sackPermitted' });
  if (scale) list.push(nop, { kind: 'windowScale', shift: random.below(15) });
  // TCP Fast Open without a cookie, MPTCP version 1, SMC-R.
  const other = random.below(12);
  if (other === 0) list.push({ kind: 'other', number: 34, data: new Uint8Array(0) }, nop, nop);
  if (other === 1) list.push({ kind: 'other', number: 30, data: Uint8Array.of(1, 0x81) });
  if (other === 2) list.push({ kind: 'other', number: 254, data: Uint8Array.of(0xe2, 0xd4, 0xc3, 0xd9) }, nop, nop);
  return list;
}

const ECN = TCP_FLAG.ECE | TCP_FLAG.CWR;
const words = (options: readonly TcpOption[]): number => {
  const size = frame([tcp({ options })]).length;
  return size / 4;
};

function realSegment(random: Random, { port }: Source): Layer {
  const options = random.chance(0.5) ? LINUX_SYN_OPTIONS : realOptions(random);
  const ecn = random.below(4);
  return tcp({
    source: port,
    seq: random.below(2 ** 32),
    window: random.pick([5840, 8192, 14_600, 29_200, 32_120, 64_240, 65_392, 65_535]),
    flags: TCP_FLAG.SYN | (ecn < 2 ? 0 : ECN),
    // Accurate ECN sets the last of the reserved bits too (RFC 9768).
    dataOffset: (words(options) << 4) | (ecn === 3 ? 1 : 0),
    options,
  });
}

function oddSegment(random: Random, source: Source): Layer {
  if (random.chance(0.03)) return udp({ source: source.port, dest: 80 });
  const options = random.chance(0.6)
    ? random.pick([LINUX_SYN_OPTIONS, realOptions(random), []])
    : bytes(random, 4 * random.below(11)).map((byte) => (byte < 128 ? random.pick([0, 1, 2, 3, 4, 8, 10]) : byte));
  return tcp({
    source: source.port,
    seq: random.below(2 ** 32),
    ack: random.chance(0.05) ? random.below(2 ** 32) : 0,
    urgent: random.chance(0.05) ? random.below(2 ** 16) : 0,
    window: random.pick([64_240, 512, 1024, 0, random.below(65_536)]),
    flags: random.chance(0.75)
      ? TCP_FLAG.SYN | random.pick([0, 0, 0, ECN, TCP_FLAG.PSH, TCP_FLAG.URG, TCP_FLAG.FIN, TCP_FLAG.RST])
      : random.below(256),
    options,
    ...(random.chance(0.04) ? { checksum: random.below(65_536) } : {}),
    ...(random.chance(0.06) ? { dataOffset: random.below(256) } : {}),
  });
}

/** A hop-by-hop or destination option that fills: PadN over the whole body. */
function padding(size: number): Uint8Array {
  const body = new Uint8Array(size);
  body.set([1, size - 2]);
  return body;
}

const REAL_CHAINED = [IPPROTO.HOPOPTS, IPPROTO.DSTOPTS] as const;

function oddExtension(random: Random, type: number): Layer {
  if (type === IPPROTO.FRAGMENT) {
    const body = Buffer.alloc(6);
    body.writeUInt16BE(random.pick([0, 0, 0, 0, 1, 8, 9, 2]));
    body.writeUInt32BE(random.below(2 ** 32), 2);
    return ipv6Extension(type, body);
  }
  if (type === IPPROTO.AH) {
    const length = random.pick([1, 2, 4, 5]);
    return {
      type,
      encode: ({ payload, type: inner }) => {
        const header = Buffer.alloc((length + 2) * 4);
        header.set([inner, length]);
        return Buffer.concat([header, payload]);
      },
    };
  }
  // A routing header: type, segments left, and what is reserved.
  if (type === IPPROTO.ROUTING)
    return ipv6Extension(type, Uint8Array.of(random.pick([0, 2, 3, 4, 253]), random.pick([0, 0, 0, 1]), 0, 0, 0, 0));
  if (random.chance(0.05)) return ipv6Extension(type, Uint8Array.of(0xc2, 4, 0, 1, 0, random.below(256))); // a jumbogram
  return random.chance(0.9)
    ? ipv6Extension(type, padding(random.pick([6, 6, 6, 14, 22, 38])))
    : ipv6Extension(type, bytes(random, random.pick([6, 14])));
}

function oddChain(random: Random, most: number): Layer[] {
  const { HOPOPTS, ROUTING, DSTOPTS, FRAGMENT, AH } = IPPROTO;
  const types = [DSTOPTS, DSTOPTS, DSTOPTS, ROUTING, FRAGMENT, FRAGMENT, HOPOPTS, AH, 135, 139, 50];
  return Array.from({ length: random.below(most + 1) }, () => {
    const type = random.pick(types);
    return type > 60 || type === 50 ? ipv6Extension(type) : oddExtension(random, type);
  });
}

/** IPv4 options: end, no operation, record route, timestamp, router alert, loose source route, anything. */
function ipv4Options(random: Random, real: boolean): Uint8Array {
  const choice = random.below(real ? 5 : 8);
  if (choice === 0) return new Uint8Array(4 * (1 + random.below(10))).fill(1);
  if (choice === 1) return Uint8Array.of(1, 7, 7, 4, 0, 0, 0, 0);
  if (choice === 2) return Uint8Array.of(68, 8, 5, 0, 0, 0, 0, 0);
  if (choice === 3) return Uint8Array.of(148, 4, 0, 0);
  if (choice === 4) return new Uint8Array(4);
  if (choice === 5) return Uint8Array.of(131, 7, 4, 10, 0, 0, 10, 0);
  return bytes(random, 4 * random.below(11));
}

function datagram(random: Random, source: Source, segment: Layer, real: boolean): Datagram {
  const data = real ? Buffer.alloc(0) : bytes(random, random.chance(0.8) ? 0 : random.below(60));
  if (random.chance(0.45)) {
    const bytes4 = frame(
      [
        ipv4({
          src: source.four,
          dst: server.ipv4,
          id: source.slot,
          ttl: random.pick([64, 128, 255, 1]),
          fragment: random.pick([0, 0x4000]),
          ...(random.chance(real ? 0.1 : 0.2) ? { options: ipv4Options(random, real) } : {}),
        }),
        segment,
      ],
      data,
    );
    const size = (bytes4[0]! & 15) * 4;
    return { family: 4, head: bytes4.subarray(0, size), next: bytes4[9]!, body: bytes4.subarray(size) };
  }
  const layer = ipv6({ src: source.six, dst: server.ipv6, hopLimit: random.pick([64, 128, 255, 1]) });
  const kept = real
    ? REAL_CHAINED.filter(() => random.chance(0.1)).map((type) => ipv6Extension(type, padding(6)))
    : random.chance(0.7)
      ? []
      : oddChain(random, 2);
  const cut = real || random.chance(0.4) ? [] : oddChain(random, random.chance(0.9) ? 3 : 10);
  const whole = frame([layer, ...kept, ...cut, segment], data);
  whole.writeUInt32BE((0x60000000 | random.below(2 ** 20) | (random.below(4) << 20)) >>> 0);
  const size = 40 + kept.reduce((sum, one) => sum + frame([one]).length, 0);
  const next = kept.length === 0 ? whole[6]! : whole[40 + lastAt(kept)]!;
  return { family: 6, head: whole.subarray(0, size), next, body: whole.subarray(size) };
}

/** Where the last of these headers begins. */
const lastAt = (layers: readonly Layer[]): number =>
  layers.slice(0, -1).reduce((sum, one) => sum + frame([one]).length, 0);

/** What may lie behind the payload: nothing, zeros, or bytes that look like the chain's continuation. */
function trailer(random: Random): Buffer {
  const choice = random.below(8);
  if (choice < 3) return Buffer.alloc(0);
  if (choice === 3) return Buffer.alloc(random.below(30));
  const { UDP, NONE, DSTOPTS, FRAGMENT, TCP, AH } = { ...IPPROTO };
  const next = random.pick([UDP, NONE, DSTOPTS, FRAGMENT, TCP, AH, 50]);
  const link = (): Buffer => Buffer.from([next, 0, 1, random.pick([0, 8, 4]), 0, 0, 0, random.below(256)]);
  if (choice < 7) return Buffer.concat(Array.from({ length: 1 + random.below(3) }, link));
  return bytes(random, random.below(64));
}

interface Piece {
  readonly offset: number;
  readonly more: boolean;
  readonly data: Buffer;
}

/** Cuts at multiples of eight; pieces may overlap, differ where they do, come twice, or be missing. */
function cut(random: Random, body: Buffer): Piece[] {
  const places = new Set<number>();
  for (let count = 1 + random.below(3); count > 0; count--) {
    const place = 8 * random.below(Math.min(9, Math.ceil(body.length / 8)) + 1);
    if (place < body.length) places.add(place);
  }
  const starts = [...new Set([0, ...places])].toSorted((a, b) => a - b);
  const pieces: Piece[] = starts.map((offset, index) => {
    const end = starts[index + 1] ?? body.length;
    return { offset, more: end < body.length, data: body.subarray(offset, end) };
  });
  const altered: Piece[] = [];
  for (const piece of pieces) {
    const { offset, more, data } = piece;
    const choice = random.below(24);
    if (choice === 0) continue;
    if (choice === 1) altered.push(piece, piece);
    else if (choice === 2 && offset >= 8) {
      altered.push({ ...piece, offset: offset - 8, data: Buffer.concat([bytes(random, 8), data]) });
    } else if (choice === 3 && more) altered.push({ ...piece, data: Buffer.concat([data, bytes(random, 8)]) });
    else if (choice < 7) {
      // The same place twice, and one of them is a decoy: other flags, another header behind, other bytes.
      const decoy = Buffer.from(data);
      if (decoy.length > 0)
        decoy[random.pick([0, 1, 13, random.below(decoy.length)]) % decoy.length] = random.pick([0, 6, 16, 17, 44, 60]);
      altered.push(...shuffle(random, [piece, { ...piece, data: decoy }]));
    } else if (choice === 7) altered.push({ ...piece, more: !more });
    else if (choice === 8) altered.push({ ...piece, data: data.subarray(0, random.below(data.length + 1)) });
    else altered.push(piece);
  }
  return random.chance(0.4) ? shuffle(random, altered) : altered;
}

/** A piece as a packet of its own. `again` is for the headers of a datagram that is cut a second time. */
function encodePiece(
  random: Random,
  { family, head, next }: Datagram,
  id: number,
  { offset, more, data }: Piece,
): Buffer {
  if (family === 4) {
    const header = Buffer.from(head);
    header.writeUInt16BE(head.length + data.length, 2);
    header.writeUInt16BE(id, 4);
    header.writeUInt16BE((more ? 0x2000 : 0) | (offset >> 3) | (random.chance(0.03) ? 0x4000 : 0), 6);
    return finish4(random, Buffer.concat([header, data]));
  }
  const fragment = Buffer.alloc(8);
  fragment[0] = offset > 0 && random.chance(0.15) ? random.pick([6, 17, 44, 60]) : next;
  fragment.writeUInt16BE(offset | Number(more), 2);
  fragment.writeUInt32BE(id, 4);
  const packet = Buffer.concat([head, fragment, data]);
  return finish6(random, packet, head.length, IPPROTO.FRAGMENT);
}

/** Length and checksum of IPv4, now and then not the true ones. */
function finish4(random: Random, packet: Buffer): Buffer {
  const size = (packet[0]! & 15) * 4;
  if (random.chance(0.04))
    packet.writeUInt16BE(random.pick([0, 20, 28, 40, packet.length - 8, packet.length + 8]) & 0xffff, 2);
  if (random.chance(0.02)) packet[9] = random.pick([6, 17, 4, 41, 47]);
  packet.writeUInt16BE(0, 10);
  packet.writeUInt16BE(internetChecksum(packet.subarray(0, size)), 10);
  return packet;
}

/** Length of IPv6, and the number of what lies behind the first `size` bytes. */
function finish6(random: Random, packet: Buffer, size: number, next: number): Buffer {
  let at = 6;
  if (size > 40) {
    at = 40;
    for (let end = at + (packet[at + 1]! + 1) * 8; end < size; end = at + (packet[at + 1]! + 1) * 8) at = end;
  }
  packet[at] = next;
  const length = packet.length - 40;
  packet.writeUInt16BE(random.chance(0.06) ? random.pick([0, 8, 16, Math.max(0, length - 8), length + 8]) : length, 4);
  return packet;
}

/** Around the packet: tags, and behind it what the link carries along. */
function onLink(random: Random, family: 4 | 6, packet: Buffer, real: boolean): Buffer {
  const type = family === 4 ? ETH_P.IP : ETH_P.IPV6;
  const carried: Layer = { type, encode: ({ payload }) => Buffer.concat([packet, payload]) };
  const tags: Layer[] = [];
  if (real) tags.push(...(maybe(random, 0.1, () => [vlan({ id: 0, priority: random.below(8) })]) ?? []));
  else if (random.chance(0.2)) {
    for (let count = 1 + random.below(4); count > 0; count--)
      tags.push(vlan({ id: random.pick([0, 0, 0, 7]), type: random.pick([0x8100, 0x8100, 0x88a8, 0x9100, 0x9200]) }));
  } else if (random.chance(0.02)) tags.push(snap(packet.length));
  const eth = ethernet({ src: client.mac, dst: server.mac });
  const behind = real ? Buffer.alloc(random.pick([0, 0, 4, 6])) : trailer(random);
  return frame([eth, ...tags, carried], behind);
}

/** IEEE 802.2 with a SNAP header, which names the type behind a length (RFC 1042). */
function snap(length: number): Layer {
  return {
    type: length + 8,
    encode: ({ payload, type }) =>
      Buffer.concat([Buffer.from([0xaa, 0xaa, 3, 0, 0, 0, type >> 8, type & 0xff]), payload]),
  };
}

/** Any bytes behind the addresses of the link. */
function spoiled(random: Random, data: Buffer): Buffer {
  const copy = Buffer.from(data);
  for (let count = 1 + random.below(3); count > 0; count--)
    copy[12 + random.below(copy.length - 12)] = random.pick([0, 6, 8, 17, 44, 60, random.below(256)]);
  return copy;
}

export function randomSequence(random: Random, slot: number, generation: number): Sequence {
  const source = sourceOf(slot, generation);
  const kind = random.below(10);
  const real = kind < 2;
  const whole = datagram(random, source, real ? realSegment(random, source) : oddSegment(random, source), real);
  const { family, head, body } = whole;
  if (real) return { real, frames: [onLink(random, family, Buffer.concat([head, body]), true)] };
  if (kind < 4) {
    const packet = Buffer.concat([head, body]);
    const sound = family === 4 ? finish4(random, packet) : finish6(random, packet, head.length, whole.next);
    const data = onLink(random, family, sound, false);
    return { real, frames: [random.chance(0.3) ? spoiled(random, data) : data] };
  }
  let pieces = cut(random, body).map((piece) => encodePiece(random, whole, slot, piece));
  if (random.chance(0.12)) {
    // Pieces of pieces.
    pieces = pieces.flatMap((packet, index) => {
      const size = family === 4 ? head.length : head.length;
      const inner: Datagram = {
        family,
        head: packet.subarray(0, size),
        next: family === 4 ? packet[9]! : IPPROTO.FRAGMENT,
        body: packet.subarray(size),
      };
      return cut(random, inner.body).map((piece) => encodePiece(random, inner, slot + 1000 + index, piece));
    });
  }
  const frames = pieces.map((packet) => {
    const data = onLink(random, family, packet, false);
    return random.chance(0.03) ? spoiled(random, data) : data;
  });
  return { real, frames };
}
