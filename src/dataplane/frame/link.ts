/** The link layer in front of the IP header. */
import { type Builder, type Condition, type Exited, type Int, type Packet, struct, u8 } from '../../ebpf/language.ts';
import { ETH_P, Eth, Vlan } from '../../net/headers.ts';
import type { LeaveWith } from './leave.ts';

/** What the frames of an interface begin with: an Ethernet header, or the IP header at once (tunnels). */
export type LinkKind = 'ethernet' | 'ip';

/** What the link layer carries, and where: the offset of the IP header in the frame. */
export interface Link {
  readonly kind: LinkKind;
  readonly offset: Int<32>;
  readonly carries: (family: 4 | 6) => Condition;
}

const MAX_TAGS = 2;
const TAGS = [ETH_P.VLAN, ETH_P.QINQ, ETH_P.QINQ_OLD];
/** The EtherType of each family. */
export const FAMILY_TYPE = { 4: ETH_P.IP, 6: ETH_P.IPV6 } as const;

export function parseLink<R>($: Builder<R>, packet: Packet<R>, leave: LeaveWith<R>, kind: LinkKind): Link {
  return kind === 'ethernet' ? parseEthernet($, packet, leave) : parseBare($, packet, leave);
}

/** Ethernet with up to two VLAN tags. */
function parseEthernet<R>($: Builder<R>, packet: Packet<R>, leave: LeaveWith<R>): Link {
  const eth = packet.take(Eth).orExit(() => leave('not-ip'));
  const type = $.let(eth.proto);
  const offset = $.let($.u32(Eth.size));
  const nested = (depth: number): void => {
    $.if(type.oneOf(TAGS), () => {
      if (depth === MAX_TAGS) return leave('vlan-depth');
      const tag = packet.take(Vlan).orExit(() => leave('truncated'));
      type.set(tag.proto);
      offset.set(offset.add(Vlan.size));
      nested(depth + 1);
      return undefined;
    });
  };
  nested(0);
  // From here on all depths of tags are one path.
  packet.restart();
  offset.set(offset.forget());
  packet.skip(offset.and(63), { max: 63 }).orExit(() => leave('truncated'));
  return { kind: 'ethernet', offset, carries: (family) => type.eq(FAMILY_TYPE[family]) };
}

const Version = struct('ip_version', { versionIhl: u8 });

/** The version of IP alone tells the families apart, as for the kernel's own tunnels (`ip_tunnel_parse_protocol`, net/ipv4/ip_tunnel_core.c). */
function parseBare<R>($: Builder<R>, packet: Packet<R>, leave: LeaveWith<R>): Link {
  const { versionIhl } = packet.peek(Version).orExit(() => leave('not-ip'));
  const version = $.let(versionIhl.shr(4));
  return { kind: 'ip', offset: $.u32(0), carries: (family) => version.eq(family) };
}

/** The two families, each with a program of its own from here on. */
export function byFamily<R>(
  $: Builder<R>,
  { carries }: Link,
  leave: LeaveWith<R>,
  judge: (family: 4 | 6) => R | Exited,
): R | Exited {
  $.if(carries(4), () => judge(4));
  $.if(carries(6), () => judge(6));
  return leave('not-ip');
}
