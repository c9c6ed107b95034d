/** Builds frames for tests and generators: layers from the outside in; lengths, types and checksums follow from the payload. */
import { encodeValue } from '../ebpf/language.ts';
import { addressBytes, parseMac } from './address.ts';
import { internetChecksum, pseudoHeaderSum } from './checksum.ts';
import { ETH_P, Eth, IPPROTO, Ipv4, Ipv6, Tcp, TCP_FLAG, type TcpFlag, Udp, Vlan } from './headers.ts';
import { encodeTcpOptions, type TcpOption } from './tcp-options.ts';

/** The surroundings of a layer when its bytes are made. */
interface Inside {
  readonly payload: Buffer;
  /** The type or protocol number of the layer inside. */
  readonly type: number;
}

/** One header: its type for the layer outside, and its bytes for a payload. */
export interface Layer {
  /** The EtherType or protocol number by which the layer around it names it. */
  readonly type: number;
  encode(inside: Inside, around: readonly Layer[]): Buffer;
  readonly addresses?: { readonly source: Uint8Array; readonly destination: Uint8Array };
}

export interface EthernetFields {
  readonly src?: string;
  readonly dst?: string;
  /** In place of what the next layer gives. */
  readonly proto?: number;
}

export function ethernet({ src = '02:00:00:00:00:01', dst = '02:00:00:00:00:02', proto }: EthernetFields = {}): Layer {
  return {
    type: 0,
    encode: ({ payload, type }) =>
      Buffer.concat([encodeValue(Eth, { dst: parseMac(dst), src: parseMac(src), proto: proto ?? type }), payload]),
  };
}

export interface VlanFields {
  readonly id?: number;
  readonly priority?: number;
  /** The outer tag of QinQ is `ETH_P.QINQ`. */
  readonly type?: number;
}

export function vlan({ id = 1, priority = 0, type = ETH_P.VLAN }: VlanFields = {}): Layer {
  return {
    type,
    encode: ({ payload, type: inner }) =>
      Buffer.concat([encodeValue(Vlan, { tci: (priority << 13) | id, proto: inner }), payload]),
  };
}

export interface Ipv4Fields {
  readonly src?: string;
  readonly dst?: string;
  readonly ttl?: number;
  readonly id?: number;
  /** The fragment word: flags and offset. */
  readonly fragment?: number;
  /** A multiple of four bytes. */
  readonly options?: Uint8Array;
  readonly protocol?: number;
  readonly versionIhl?: number;
  readonly totalLength?: number;
  readonly checksum?: number;
}

export function ipv4(fields: Ipv4Fields = {}): Layer {
  const { src = '10.0.0.1', dst = '10.0.0.10', options = new Uint8Array(0) } = fields;
  const [source, destination] = [addressBytes(src), addressBytes(dst)];
  return {
    type: ETH_P.IP,
    addresses: { source, destination },
    encode: ({ payload, type }) => {
      const size = Ipv4.size + options.length;
      const header = {
        versionIhl: fields.versionIhl ?? 0x40 | (size / 4),
        tos: 0,
        totalLength: fields.totalLength ?? size + payload.length,
        id: fields.id ?? 0,
        fragment: fields.fragment ?? 0x4000,
        ttl: fields.ttl ?? 64,
        protocol: fields.protocol ?? type,
        checksum: 0,
        saddr: Buffer.from(source).readUInt32BE(0),
        daddr: Buffer.from(destination).readUInt32BE(0),
      };
      const plain = Buffer.concat([encodeValue(Ipv4, header), options]);
      plain.writeUInt16BE(fields.checksum ?? internetChecksum(plain), Ipv4.offsets.checksum);
      return Buffer.concat([plain, payload]);
    },
  };
}

export interface Ipv6Fields {
  readonly src?: string;
  readonly dst?: string;
  readonly hopLimit?: number;
  readonly nextHeader?: number;
  readonly payloadLength?: number;
}

export function ipv6(fields: Ipv6Fields = {}): Layer {
  const { src = 'fd00::1', dst = 'fd00::10', hopLimit = 64 } = fields;
  const [source, destination] = [addressBytes(src), addressBytes(dst)];
  return {
    type: ETH_P.IPV6,
    addresses: { source, destination },
    encode: ({ payload, type }) => {
      const header = encodeValue(Ipv6, {
        versionClassFlow: 0x60000000,
        payloadLength: fields.payloadLength ?? payload.length,
        nextHeader: fields.nextHeader ?? type,
        hopLimit,
        saddr: source,
        daddr: destination,
      });
      return Buffer.concat([header, payload]);
    },
  };
}

/** An IPv6 extension header of the common form: its body is filled up to 8 bytes, with the two that come first counted in. */
export function ipv6Extension(type: number, body: Uint8Array = new Uint8Array(6)): Layer {
  return {
    type,
    encode: ({ payload, type: inner }) => {
      const size = Math.ceil((body.length + 2) / 8) * 8;
      const header = Buffer.alloc(size);
      header[0] = inner;
      header[1] = size / 8 - 1;
      header.set(body, 2);
      return Buffer.concat([header, payload]);
    },
  };
}

export interface TcpFields {
  readonly source?: number;
  readonly dest?: number;
  readonly seq?: number;
  readonly ack?: number;
  readonly flags?: readonly TcpFlag[] | number;
  readonly window?: number;
  readonly urgent?: number;
  readonly options?: readonly TcpOption[] | Uint8Array;
  readonly dataOffset?: number;
  readonly checksum?: number;
}

export function tcp(fields: TcpFields = {}): Layer {
  const { source = 40000, dest = 80, flags = ['SYN'], options = [] } = fields;
  return {
    type: IPPROTO.TCP,
    encode: ({ payload }, around) => {
      const encoded = options instanceof Uint8Array ? options : encodeTcpOptions(options);
      const header = encodeValue(Tcp, {
        source,
        dest,
        seq: fields.seq ?? 1,
        ack: fields.ack ?? 0,
        dataOffset: fields.dataOffset ?? ((Tcp.size + encoded.length) / 4) << 4,
        flags: typeof flags === 'number' ? flags : flags.reduce((bits, name) => bits | TCP_FLAG[name], 0),
        window: fields.window ?? 64240,
        checksum: 0,
        urgent: fields.urgent ?? 0,
      });
      const segment = Buffer.concat([header, encoded, payload]);
      segment.writeUInt16BE(fields.checksum ?? transportChecksum(segment, IPPROTO.TCP, around), Tcp.offsets.checksum);
      return segment;
    },
  };
}

export function udp({ source = 40000, dest = 53 }: { readonly source?: number; readonly dest?: number } = {}): Layer {
  return {
    type: IPPROTO.UDP,
    encode: ({ payload }, around) => {
      const header = encodeValue(Udp, { source, dest, length: Udp.size + payload.length, checksum: 0 });
      const datagram = Buffer.concat([header, payload]);
      // RFC 768: a checksum that comes out as zero is sent as all ones.
      datagram.writeUInt16BE(transportChecksum(datagram, IPPROTO.UDP, around) || 0xffff, Udp.offsets.checksum);
      return datagram;
    },
  };
}

function transportChecksum(segment: Buffer, protocol: number, around: readonly Layer[]): number {
  const addresses = around.findLast((layer) => layer.addresses)?.addresses;
  if (!addresses) return 0;
  return internetChecksum(segment, pseudoHeaderSum(addresses.source, addresses.destination, protocol, segment.length));
}

/** The bytes of a frame. */
export function frame(layers: readonly Layer[], payload: Uint8Array = new Uint8Array(0)): Buffer {
  let inside: Inside = { payload: Buffer.from(payload), type: IPPROTO.NONE };
  for (let index = layers.length - 1; index >= 0; index--) {
    const layer = layers[index]!;
    inside = { payload: layer.encode(inside, layers.slice(0, index)), type: layer.type };
  }
  return inside.payload;
}
