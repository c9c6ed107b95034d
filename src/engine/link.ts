/** Which interfaces can be protected, and what their frames begin with. */
import { type InterfaceState, interfaceIndex, readInterface, SyscallError } from '../ebpf/index.ts';
import type { LinkKind } from '../dataplane/frame/link.ts';
import { PolicyError } from '../policy/policy-error.ts';

/** ARPHRD_* (linux/if_arp.h). */
const Hardware = { ETHER: 1, PPP: 512, TUNNEL: 768, TUNNEL6: 769, LOOPBACK: 772, NONE: 0xfffe } as const;

/**
 * Devices that hand over packets from the IP header on, and send answers that begin there. Others of these types (xfrm, vti) show the
 * header of the link below.
 */
const BARE: readonly (readonly [number, string | undefined])[] = [
  [Hardware.NONE, 'tun'],
  [Hardware.NONE, 'wireguard'],
  [Hardware.PPP, 'ppp'],
  [Hardware.TUNNEL, 'ipip'],
  [Hardware.TUNNEL6, 'ip6tnl'],
];

/** @throws PolicyError for an interface that cannot be protected. */
export function linkKind({ name, type, kind }: Pick<InterfaceState, 'name' | 'type' | 'kind'>): LinkKind {
  if (type === Hardware.LOOPBACK)
    throw new PolicyError(
      'interface',
      `${name} is the loopback device: what comes in there was sent by this host, from addresses that are refused everywhere else; protect the interface that clients come in by`,
    );
  if (type === Hardware.ETHER) return 'ethernet';
  if (BARE.some(([of, called]) => of === type && called === kind)) return 'ip';
  throw new PolicyError(
    'interface',
    `${name} has frames of a type that Seawall does not read (${kind === undefined ? '' : `${kind}, `}ARPHRD ${String(type)}), and its SYNs would pass unjudged; docs/attaching.md says where to attach instead`,
  );
}

/** What the frames of an interface of this network namespace begin with; of one that is not there, attaching says so. */
export function linkKindOf(interfaceName: string): LinkKind {
  const index = interfaceIndex(interfaceName);
  return index === undefined ? 'ethernet' : linkKind(readInterface(index));
}

/**
 * Why answers that XDP sends in native mode would not arrive; undefined where they do. A veth pair carries them only while the other end runs
 * XDP in native mode, too: otherwise nothing wakes that end up (`veth_xdp_flush`, drivers/net/veth.c).
 */
export function nativeProblem(interfaceName: string): string | undefined {
  const index = interfaceIndex(interfaceName);
  if (index === undefined) return undefined;
  const { kind, link } = readInterface(index);
  if (kind !== 'veth' || !link) return undefined;
  try {
    return readInterface(link).xdp.native === undefined
      ? 'the other end of this veth pair has no XDP program, and does not notice what is sent to it by XDP'
      : undefined;
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    return `the other end of this veth pair cannot be looked at (${error.errno}); without an XDP program it does not notice what is sent to it by XDP`;
  }
}
