/** What rtnetlink tells of an interface: RTM_GETLINK for one, with its XDP attributes (linux/if_link.h). */
import { SyscallError } from '../errors.ts';
import { netlinkRoute } from './libc.ts';

export interface InterfaceState {
  readonly name: string;
  /** ARPHRD_* (linux/if_arp.h): what its frames begin with. */
  readonly type: number;
  readonly mtu: number;
  readonly up: boolean;
  /** Packets that came in since it was made. */
  readonly receivedPackets: bigint;
  /** Kind of a virtual device, `veth` say. */
  readonly kind: string | undefined;
  /** The interface that it belongs to, the other end of a veth pair say. */
  readonly link: InterfaceAddress | undefined;
  /** Numbers of the XDP programs by mode; absent where there is none. */
  readonly xdp: { readonly native?: number; readonly generic?: number; readonly offloaded?: number };
}

/** An interface by its number, in this network namespace or in the one that it knows by `namespace` (`ip netns list-id`). */
export interface InterfaceAddress {
  readonly index: number;
  readonly namespace?: number | undefined;
}

const RTM_GETLINK = 18;
const NLMSG_ERROR = 2;
const NLM_F_REQUEST = 1;
const IFF_UP = 1;
const Ifla = {
  IFNAME: 3,
  MTU: 4,
  LINK: 5,
  LINKINFO: 18,
  STATS64: 23,
  LINK_NETNSID: 37,
  XDP: 43,
  TARGET_NETNSID: 46,
} as const;
const IFLA_INFO_KIND = 1;
const IflaXdp = { ATTACHED: 2, PROG_ID: 4, DRV_PROG_ID: 5, SKB_PROG_ID: 6, HW_PROG_ID: 7 } as const;
const XdpAttached = { DRV: 1, SKB: 2, HW: 3 } as const;

/** Attributes: length and type in 16 bits each, then the payload, padded to four bytes. */
export function attributes(bytes: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at + 4 <= bytes.length;) {
    const length = bytes.readUInt16LE(at);
    if (length < 4) break;
    found.set(bytes.readUInt16LE(at + 2) & 0x3fff, bytes.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return found;
}

const text = (bytes: Buffer | undefined): string | undefined => bytes?.toString('latin1').replace(/\0.*$/, '');

function xdpPrograms(nested: Buffer | undefined): InterfaceState['xdp'] {
  if (!nested) return {};
  const xdp = attributes(nested);
  const id = (type: number): number | undefined => xdp.get(type)?.readUInt32LE(0);
  const attached = xdp.get(IflaXdp.ATTACHED)?.readUInt8(0);
  const only = id(IflaXdp.PROG_ID);
  const native = id(IflaXdp.DRV_PROG_ID) ?? (attached === XdpAttached.DRV ? only : undefined);
  const generic = id(IflaXdp.SKB_PROG_ID) ?? (attached === XdpAttached.SKB ? only : undefined);
  const offloaded = id(IflaXdp.HW_PROG_ID) ?? (attached === XdpAttached.HW ? only : undefined);
  return { ...(native ? { native } : {}), ...(generic ? { generic } : {}), ...(offloaded ? { offloaded } : {}) };
}

/** The interface of this number, here or in another network namespace. @throws SyscallError where there is none, or none that can be seen. */
export function readInterface(where: number | InterfaceAddress): InterfaceState {
  const { index, namespace } = typeof where === 'number' ? { index: where, namespace: undefined } : where;
  const request = Buffer.alloc(namespace === undefined ? 32 : 40); // struct nlmsghdr, struct ifinfomsg, an attribute
  request.writeUInt32LE(request.length, 0);
  request.writeUInt16LE(RTM_GETLINK, 4);
  request.writeUInt16LE(NLM_F_REQUEST, 6);
  request.writeInt32LE(index, 20);
  if (namespace !== undefined) {
    request.writeUInt16LE(8, 32);
    request.writeUInt16LE(Ifla.TARGET_NETNSID, 34);
    request.writeInt32LE(namespace, 36);
  }
  const result = netlinkRoute(request);
  const what = `read interface ${String(index)}`;
  if (!result.ok)
    throw new SyscallError('netlink(RTM_GETLINK)', result.errno, `${what}: netlink failed with ${result.errno}`);
  const answer = result.answer!;
  if (answer.readUInt16LE(4) === NLMSG_ERROR) {
    throw new SyscallError(
      'netlink(RTM_GETLINK)',
      'ENODEV',
      `${what}: there is no such interface in this network namespace`,
    );
  }
  const found = attributes(answer.subarray(32));
  const link = found.get(Ifla.LINK)?.readUInt32LE(0);
  const linkInfo = found.get(Ifla.LINKINFO);
  return {
    name: text(found.get(Ifla.IFNAME)) ?? '',
    type: answer.readUInt16LE(18),
    mtu: found.get(Ifla.MTU)?.readUInt32LE(0) ?? 0,
    up: (answer.readUInt32LE(24) & IFF_UP) !== 0,
    receivedPackets: found.get(Ifla.STATS64)?.readBigUInt64LE(0) ?? 0n,
    kind: linkInfo && text(attributes(linkInfo).get(IFLA_INFO_KIND)),
    link: link === undefined ? undefined : { index: link, namespace: found.get(Ifla.LINK_NETNSID)?.readInt32LE(0) },
    xdp: xdpPrograms(found.get(Ifla.XDP)),
  };
}
