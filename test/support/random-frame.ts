/** Frames of every shape: right ones, odd ones and broken ones, from a seed. */
import { ethernet, frame, ipv4, ipv6, ipv6Extension, type Layer, tcp, udp, vlan } from '../../src/net/build.ts';
import { IPPROTO, TCP_FLAG } from '../../src/net/headers.ts';
import { encodeTcpOptions, LINUX_SYN_OPTIONS, type TcpOption } from '../../src/net/tcp-options.ts';

/** A small random generator with a seed (mulberry32). */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }
  /** From 0 up to, not including, 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let value = this.#state;
    value = Math.imul(value ^ (value >>> 15), value | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  }
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }
  chance(share: number): boolean {
    return this.next() < share;
  }
  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }
}

const SOURCES4 = ['10.0.0.1', '10.0.0.2', '10.0.1.3', '192.0.2.7', '198.51.100.1', '203.0.113.200'];
const ODD_SOURCES4 = ['0.0.0.0', '0.1.2.3', '127.0.0.1', '224.0.0.1', '255.255.255.255', '240.0.0.1', '10.0.0.10'];
const SOURCES6 = ['fd00::1', 'fd00::2', 'fd00:0:0:1::1', '2001:db8::5', '2001:db8:0:1::5'];
const ODD_SOURCES6 = ['::', '::1', 'ff02::1', '::ffff:10.0.0.1', 'fd00::10', '::2'];
const DESTINATIONS4 = ['10.0.0.10', '10.0.0.11', '192.0.2.80'];
const DESTINATIONS6 = ['fd00::10', 'fd00::11', '2001:db8::80'];
const PORTS = [80, 443, 8000, 8050, 8100, 22, 0, 65_535];

const WINDOWS: readonly TcpOption[] = [
  { kind: 'mss', size: 1440 },
  { kind: 'nop' },
  { kind: 'windowScale', shift: 8 },
  { kind: 'nop' },
  { kind: 'nop' },
  { kind: 'sackPermitted' },
];

function options(random: Random): readonly TcpOption[] | Uint8Array {
  const kind = random.below(8);
  if (kind < 3) return LINUX_SYN_OPTIONS;
  if (kind === 3) return WINDOWS;
  if (kind === 4) return [];
  if (kind === 5) {
    // Any bytes at all.
    return Uint8Array.from({ length: random.below(11) * 4 }, () =>
      random.pick([0, 1, 2, 3, 4, 8, 10, 30, random.below(256)]),
    );
  }
  const list: TcpOption[] = [];
  for (let count = random.below(6); count > 0; count--) {
    list.push(
      random.pick<TcpOption>([
        { kind: 'mss', size: random.below(65_536) },
        { kind: 'nop' },
        { kind: 'windowScale', shift: random.below(16) },
        { kind: 'sackPermitted' },
        { kind: 'timestamps', value: random.below(2 ** 32), echo: 0 },
        { kind: 'other', number: 34, data: new Uint8Array(random.below(9)) },
      ]),
    );
    if (encodeTcpOptions(list).length > 40) {
      list.pop();
      break;
    }
  }
  return list;
}

function flags(random: Random): number {
  if (random.chance(0.8)) return TCP_FLAG.SYN;
  if (random.chance(0.4)) return TCP_FLAG.SYN | random.pick([TCP_FLAG.ECE | TCP_FLAG.CWR, TCP_FLAG.PSH, TCP_FLAG.ECE]);
  return random.below(256);
}

function extensions(random: Random): Layer[] {
  const count = random.chance(0.7) ? 0 : random.below(10);
  return Array.from({ length: count }, () => {
    const type = random.pick([IPPROTO.HOPOPTS, IPPROTO.ROUTING, IPPROTO.DSTOPTS, IPPROTO.FRAGMENT, IPPROTO.AH]);
    if (type === IPPROTO.FRAGMENT) {
      const body = Buffer.alloc(6);
      body.writeUInt16BE(random.pick([0, 0, 1, 8, 9, 16, 2]), 0);
      return ipv6Extension(type, body);
    }
    if (type === IPPROTO.AH) return authentication(random.pick([2, 4]));
    return ipv6Extension(type, new Uint8Array(random.pick([6, 14, 22])));
  });
}

/** An AH header of this many words of four bytes, less two (RFC 4302). */
function authentication(length: number): Layer {
  return {
    type: IPPROTO.AH,
    encode: ({ payload, type }) => {
      const header = Buffer.alloc((length + 2) * 4);
      header[0] = type;
      header[1] = length;
      return Buffer.concat([header, payload]);
    },
  };
}

export function randomFrame(random: Random): Buffer {
  const tags = random.chance(0.75) ? 0 : 1 + random.below(3);
  const link = [
    ethernet(),
    ...Array.from({ length: tags }, (_, index) =>
      vlan({ id: 10 + index, type: random.pick([0x8100, 0x88a8, 0x9100]) }),
    ),
  ];
  const six = random.chance(0.4);
  const src = random.chance(0.95)
    ? random.pick(six ? SOURCES6 : SOURCES4)
    : random.pick(six ? ODD_SOURCES6 : ODD_SOURCES4);
  const dst = random.pick(six ? DESTINATIONS6 : DESTINATIONS4);
  const ip = six
    ? [ipv6({ src, dst, ...(random.chance(0.06) ? { payloadLength: random.below(100) } : {}) }), ...extensions(random)]
    : [
        ipv4({
          src,
          dst,
          id: random.pick([0, 54_321, random.below(65_536)]),
          ...(random.chance(0.15) ? { options: new Uint8Array(4 * random.below(11)).fill(random.below(256)) } : {}),
          ...(random.chance(0.08) ? { fragment: random.pick([0, 0x2000, 0x2001, 1, 2, 0x1fff, 0x4000]) } : {}),
          ...(random.chance(0.03) ? { totalLength: random.below(100) } : {}),
          ...(random.chance(0.02) ? { versionIhl: random.below(256) } : {}),
          ...(random.chance(0.03) ? { checksum: random.below(65_536) } : {}),
        }),
      ];
  const segment = random.chance(0.04)
    ? udp()
    : tcp({
        source: random.chance(0.02) ? 0 : 1024 + random.below(60_000),
        dest: random.pick(PORTS),
        seq: random.chance(0.03) ? Buffer.from([10, 0, 0, 10]).readUInt32BE() : random.below(2 ** 32),
        ack: random.chance(0.03) ? random.below(2 ** 32) : 0,
        flags: flags(random),
        window: random.pick([64_240, 512, 1024, 65_535, random.below(65_536)]),
        options: options(random),
        ...(random.chance(0.03) ? { dataOffset: random.below(256) } : {}),
        ...(random.chance(0.03) ? { checksum: random.below(65_536) } : {}),
      });
  let bytes = frame([...link, ...ip, segment], new Uint8Array(random.chance(0.1) ? random.below(40) : 0));
  if (random.chance(0.2)) bytes = Buffer.concat([bytes, Buffer.alloc(random.below(30))]); // padding
  if (random.chance(0.08)) bytes = bytes.subarray(0, 14 + random.below(Math.max(1, bytes.length - 14)));
  if (random.chance(0.08)) {
    bytes = Buffer.from(bytes);
    for (let count = 1 + random.below(3); count > 0; count--)
      bytes[12 + random.below(bytes.length - 12)] = random.below(256);
  }
  return bytes;
}
