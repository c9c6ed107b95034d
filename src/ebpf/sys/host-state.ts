/** What rtnetlink tells of a host: which addresses are its own, and which link-layer addresses lead to it. */
import { SyscallError } from '../errors.ts';
import { RouteSocket } from './libc.ts';
import { attributes } from './link-state.ts';

/** A network of addresses, in network order. */
export interface LocalNetwork {
  readonly address: Uint8Array;
  readonly bits: number;
}

export interface HostState {
  /** The addresses that this host takes packets for: its routing table `local`. */
  readonly addresses: readonly LocalNetwork[];
  /** Link-layer addresses of the interface, and of those above it: its bridge, VLANs and macvlans in this namespace. The interface's own comes first. */
  readonly links: readonly Uint8Array[];
}

const RTM_GETLINK = 18;
const RTM_GETROUTE = 26;
const NLM_F_REQUEST = 1;
const NLM_F_DUMP = 0x300;
const HEADER = 16;
const [AF_INET, AF_INET6] = [2, 10];
const RT_TABLE_LOCAL = 255;
const RTN_LOCAL = 2;
const RTA_DST = 1;
const Ifla = { ADDRESS: 1, LINK: 5, MASTER: 10, LINK_NETNSID: 37, EXT_MASK: 29 } as const;
const RTEXT_FILTER_SKIP_STATS = 8;

function request(type: number, body: Buffer): Buffer {
  const message = Buffer.alloc(HEADER + body.length);
  message.writeUInt32LE(message.length, 0);
  message.writeUInt16LE(type, 4);
  message.writeUInt16LE(NLM_F_REQUEST | NLM_F_DUMP, 6);
  body.copy(message, HEADER);
  return message;
}

/** The local routes of a family (struct rtmsg). */
function localRoutes(family: number): Buffer {
  const body = Buffer.alloc(12);
  body[0] = family;
  body[4] = RT_TABLE_LOCAL;
  body[7] = RTN_LOCAL;
  return request(RTM_GETROUTE, body);
}

/** All interfaces (struct ifinfomsg), without what they count. */
function allLinks(): Buffer {
  const body = Buffer.alloc(24);
  body.writeUInt16LE(8, 16);
  body.writeUInt16LE(Ifla.EXT_MASK, 18);
  body.writeUInt32LE(RTEXT_FILTER_SKIP_STATS, 20);
  return request(RTM_GETLINK, body);
}

/** Reads the state of the host whose network namespace it was made in, at any time and from any namespace. */
export class HostReader implements Disposable {
  readonly #socket: RouteSocket;
  readonly #index: number;

  /** For an interface of this network namespace, by its number. @throws SyscallError. */
  constructor(index: number) {
    const socket = RouteSocket.open();
    if (!(socket instanceof RouteSocket))
      throw new SyscallError(
        'socket(AF_NETLINK)',
        socket.errno,
        `read local addresses: netlink failed with ${socket.errno}`,
      );
    this.#socket = socket;
    this.#index = index;
  }

  /** @throws SyscallError. */
  read(): HostState {
    return { addresses: [...this.#addresses(AF_INET, 4), ...this.#addresses(AF_INET6, 16)], links: this.#links() };
  }

  #dump(message: Buffer): readonly Buffer[] {
    const result = this.#socket.dump(message);
    if (result.ok) return result.messages!;
    throw new SyscallError('netlink', result.errno, `read local addresses: netlink failed with ${result.errno}`);
  }

  #addresses(family: number, length: number): LocalNetwork[] {
    return this.#dump(localRoutes(family)).flatMap((message) => {
      if (message[HEADER + 7] !== RTN_LOCAL || message[HEADER] !== family) return [];
      const address = attributes(message.subarray(HEADER + 12)).get(RTA_DST) ?? Buffer.alloc(length);
      return [{ address: Uint8Array.from(address), bits: message[HEADER + 1]! }];
    });
  }

  #links(): Uint8Array[] {
    const all = this.#dump(allLinks()).map((message) => {
      const found = attributes(message.subarray(HEADER + 16));
      const elsewhere = found.has(Ifla.LINK_NETNSID);
      return {
        index: message.readInt32LE(HEADER + 4),
        address: found.get(Ifla.ADDRESS),
        below: elsewhere ? undefined : found.get(Ifla.LINK)?.readUInt32LE(0),
        above: found.get(Ifla.MASTER)?.readUInt32LE(0),
      };
    });
    const reached = new Set([this.#index]);
    for (const index of reached)
      for (const link of all) {
        if (link.index === index && link.above !== undefined) reached.add(link.above);
        if (link.below === index) reached.add(link.index);
      }
    const addresses = [...reached].flatMap((index) => all.find((link) => link.index === index)?.address ?? []);
    const different = new Map(addresses.filter(({ length }) => length === 6).map((one) => [one.toString('hex'), one]));
    return [...different.values()].map((one) => Uint8Array.from(one));
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}
