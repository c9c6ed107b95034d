/** Reads a frame in user space: for printing, and to check what came back. Written for clarity; the kernel has its own parser. */
import { decodeValue, type Infer } from '../ebpf/language.ts';
import { formatAddress, formatIpv4 } from './address.ts';
import { ETH_P, Eth, IP_FRAGMENT, IPPROTO, Ipv4, Ipv6, Tcp, Udp, Vlan } from './headers.ts';
import { decodeTcpOptions, type TcpOption } from './tcp-options.ts';

export interface ParsedTcp extends Infer<typeof Tcp> {
  readonly options: readonly TcpOption[];
  /** Whether the options could be read to their end. */
  readonly optionsComplete: boolean;
}

export interface ParsedIp {
  readonly version: 4 | 6;
  readonly src: string;
  readonly dst: string;
  /** What the last extension header names. */
  readonly protocol: number;
  readonly ttl: number;
  /** Numbers of the IPv6 extension headers, in order. */
  readonly extensions: readonly number[];
  /** A fragment other than the first: it carries no transport header. */
  readonly laterFragment: boolean;
}

export interface ParsedFrame {
  readonly eth: Infer<typeof Eth> | undefined;
  readonly vlans: readonly number[];
  readonly ip: ParsedIp | undefined;
  readonly tcp: ParsedTcp | undefined;
  readonly udp: Infer<typeof Udp> | undefined;
  /** Bytes behind the last header, by the lengths that the headers claim. */
  readonly payloadLength: number;
}

interface Network {
  readonly ip: ParsedIp;
  /** Where the transport header begins, and where the packet ends by its own account. */
  readonly start: number;
  readonly end: number;
}

function parseIpv4(bytes: Buffer, at: number): Network | undefined {
  if (at + Ipv4.size > bytes.length) return undefined;
  const header = decodeValue(Ipv4, bytes, at);
  const size = (header.versionIhl & 0x0f) * 4;
  if (header.versionIhl >> 4 !== 4 || size < Ipv4.size) return undefined;
  const ip: ParsedIp = {
    version: 4,
    src: formatIpv4(header.saddr),
    dst: formatIpv4(header.daddr),
    protocol: header.protocol,
    ttl: header.ttl,
    extensions: [],
    laterFragment: (header.fragment & IP_FRAGMENT.OFFSET) !== 0,
  };
  return { ip, start: at + size, end: at + header.totalLength };
}

function parseIpv6(bytes: Buffer, at: number): Network | undefined {
  if (at + Ipv6.size > bytes.length) return undefined;
  const header = decodeValue(Ipv6, bytes, at);
  const extensions: number[] = [];
  let laterFragment = false;
  let next = header.nextHeader;
  let start = at + Ipv6.size;
  while (start + 8 <= bytes.length) {
    if (next === IPPROTO.HOPOPTS || next === IPPROTO.ROUTING || next === IPPROTO.DSTOPTS) {
      extensions.push(next);
      next = bytes[start]!;
      start += (bytes[start + 1]! + 1) * 8;
    } else if (next === IPPROTO.FRAGMENT) {
      extensions.push(next);
      laterFragment = bytes.readUInt16BE(start + 2) >> 3 !== 0;
      next = bytes[start]!;
      start += 8;
    } else if (next === IPPROTO.AH) {
      extensions.push(next);
      next = bytes[start]!;
      start += (bytes[start + 1]! + 2) * 4;
    } else break;
  }
  const ip: ParsedIp = {
    version: 6,
    src: formatAddress(header.saddr),
    dst: formatAddress(header.daddr),
    protocol: next,
    ttl: header.hopLimit,
    extensions,
    laterFragment,
  };
  return { ip, start, end: at + Ipv6.size + header.payloadLength };
}

function parseTcp(bytes: Buffer, at: number): (ParsedTcp & { readonly size: number }) | undefined {
  if (at + Tcp.size > bytes.length) return undefined;
  const header = decodeValue(Tcp, bytes, at);
  const size = (header.dataOffset >> 4) * 4;
  const { options, complete } = decodeTcpOptions(
    bytes.subarray(at + Tcp.size, Math.max(at + Tcp.size, Math.min(at + size, bytes.length))),
  );
  return { ...header, options, optionsComplete: complete && size >= Tcp.size, size };
}

/** Types that announce a VLAN tag: 802.1Q, 802.1ad, and an older type for outer tags. */
const VLAN_TYPES = new Set<number>([ETH_P.VLAN, ETH_P.QINQ, ETH_P.QINQ_OLD]);

/** Reads as many layers as there are; missing and malformed ones are undefined. `bytes` may be the start of a longer frame. */
export function parseFrame(bytes: Buffer): ParsedFrame {
  const nothing = { eth: undefined, vlans: [], ip: undefined, tcp: undefined, udp: undefined, payloadLength: 0 };
  if (bytes.length < Eth.size) return nothing;
  const eth = decodeValue(Eth, bytes);
  const vlans: number[] = [];
  let at = Eth.size;
  let proto = eth.proto;
  while (VLAN_TYPES.has(proto) && at + Vlan.size <= bytes.length) {
    const tag = decodeValue(Vlan, bytes, at);
    vlans.push(tag.tci & 0x0fff);
    proto = tag.proto;
    at += Vlan.size;
  }
  const network = proto === ETH_P.IP ? parseIpv4(bytes, at) : proto === ETH_P.IPV6 ? parseIpv6(bytes, at) : undefined;
  if (!network) return { ...nothing, eth, vlans };
  const { ip, start, end } = network;
  const tcp = ip.protocol === IPPROTO.TCP && !ip.laterFragment ? parseTcp(bytes, start) : undefined;
  const udp =
    ip.protocol === IPPROTO.UDP && !ip.laterFragment && start + Udp.size <= bytes.length
      ? decodeValue(Udp, bytes, start)
      : undefined;
  const payloadLength = Math.max(0, end - start - (tcp ? tcp.size : udp ? Udp.size : 0));
  return { eth, vlans, ip, tcp, udp, payloadLength };
}
