/** Whether a segment belongs to a connection of this host: to a socket, or to an entry of the connection tracking. */
import {
  arrayMap,
  type Builder,
  enumOf,
  type EnumValue,
  type Int,
  type Packet,
  type Socket,
  struct,
  TCP_LISTEN,
  u64,
} from '../../ebpf/language.ts';
import { IPPROTO } from '../../net/headers.ts';
import { portsWord, type Segment } from '../frame/parse.ts';
import { socketTuple } from '../frame/socket-tuple.ts';
import { mapGroup } from '../maps.ts';

/** What of this host's connections the program can look up. Frames of a capture belong to none of them. */
export interface Connections {
  /** Whether the kernel can be asked for what its connection tracking knows: nothing else knows connections whose addresses it translates. */
  readonly tracking: boolean;
  /** Whether the maps of `state/host.ts` say which addresses are this host's; where they do not, all are. */
  readonly knowsHost: boolean;
}

/** Until when the connection tracking is known to know nothing, and need not be asked: nanoseconds. */
const Untracked = struct('untracked', { until: u64 });

export const untrackedGroup = mapGroup({
  specs: () => ({ untracked: arrayMap('untracked', { value: Untracked, maxEntries: 1, mmap: true }) }),
});
export type UntrackedMaps = ReturnType<typeof untrackedGroup.specs>;

/** What a segment belongs to: nothing, only a listener, or a connection. */
export const Owner = enumOf('owner', { NOBODY: 0, LISTENER: 1, CONNECTION: 2 });

/** Looks up what a segment belongs to. `takes` says whether a listener takes it for one that opens a connection; it cannot leave the program. */
export function ownerOf<R>(
  $: Builder<R>,
  packet: Packet<R>,
  { untracked }: UntrackedMaps,
  { source, destination, tcp }: Segment,
  { tracking }: Connections,
  now: Int<64>,
  takes: (listener: Socket<R>) => Int<32>,
): EnumValue<'owner'> {
  const owner = $.let(Owner.NOBODY);
  const [tuple, size] = socketTuple($, source, destination, portsWord(tcp));
  packet.tcpSocket(tuple, size, (socket) => {
    owner.set(Owner.CONNECTION);
    $.if(socket.state.eq(TCP_LISTEN), () => {
      $.if(takes(socket).eq(0), () => {
        owner.set(Owner.LISTENER);
      });
    });
  });
  if (tracking)
    $.if(owner.ne(Owner.CONNECTION).and($.at(untracked, 0).until.le(now)), () => {
      $.if(packet.isTracked(tuple, size, IPPROTO.TCP).ne(0), () => {
        owner.set(Owner.CONNECTION);
      });
    });
  return owner;
}
