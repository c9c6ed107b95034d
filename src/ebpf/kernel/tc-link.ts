import { attr, attribute } from '../sys/attr.ts';
import { adopt, openCommand } from '../sys/bpf.ts';
import { indexToAttachTo, InterfaceLink, readOpenedLink } from './interface-link.ts';
import { openPinned } from './pin.ts';
import { type Program, requireTypeFor } from './program.ts';

/** BPF_TCX_INGRESS and BPF_TCX_EGRESS (include/uapi/linux/bpf.h, Linux 6.6; the header that the other numbers come from is older). */
const TCX = { ingress: 46, egress: 47 } as const;

/** A traffic-control program on an interface by a tcx link (Linux 6.6), beside others that may be there. */
export class TcLink extends InterfaceLink {
  /** Puts a program behind those that are on the interface of this network namespace already. @throws SyscallError; DslError for an XDP program. */
  static attach(program: Program, interfaceName: string, direction: keyof typeof TCX = 'ingress'): TcLink {
    requireTypeFor('TcLink', program);
    const attributes = attribute(attr.linkCreate, {
      programFd: program.fd,
      target: indexToAttachTo(interfaceName),
      attachType: TCX[direction],
    });
    return new TcLink(
      openCommand('LINK_CREATE', attributes, `attach to ${interfaceName} in traffic control`),
      'TcLink',
    );
  }

  /** @throws SyscallError; DslError where another kind of link is pinned there. */
  static openPinned(path: string): TcLink {
    return adopt(openPinned(path, 'link'), (descriptor) => {
      readOpenedLink(descriptor, 'TcLink');
      return new TcLink(descriptor, 'TcLink');
    });
  }
}
