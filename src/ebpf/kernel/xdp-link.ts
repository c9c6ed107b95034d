import type { SyscallError } from '../errors.ts';
import { attr, attribute } from '../sys/attr.ts';
import { adopt, commandError, openById, tryCommand } from '../sys/bpf.ts';
import { Descriptor } from '../sys/descriptor.ts';
import { readInterface } from '../sys/link-state.ts';
import { AttachType } from '../uapi/constants.gen.ts';
import { indexToAttachTo, InterfaceLink, readOpenedLink } from './interface-link.ts';
import { openPinned } from './pin.ts';
import { Program, requireTypeFor } from './program.ts';

/** Native runs in the driver, generic after the kernel made its own packet. */
export type XdpMode = 'native' | 'generic';

/** XDP_FLAGS_* (linux/if_link.h). */
const MODE_FLAGS: Record<XdpMode, number> = { native: 1 << 2, generic: 1 << 1 };

export interface AttachOptions {
  /** `auto`, the default, tries native first and falls back to generic, and says so in `link.fallback`. */
  readonly mode?: XdpMode | 'auto';
}

/** An XDP program on an interface. */
export class XdpLink extends InterfaceLink {
  /** The mode it runs in; undefined for a link that was opened, where the interface is gone. */
  readonly mode: XdpMode | undefined;
  /** Why native was not had, where `auto` fell back to generic. */
  readonly fallback: string | undefined;

  private constructor(descriptor: Descriptor, mode: XdpMode | undefined, fallback?: string) {
    super(descriptor, 'XdpLink');
    this.mode = mode;
    this.fallback = fallback;
  }

  /**
   * Puts a program on an interface of this network namespace.
   * @throws SyscallError that names the interface, the mode, and the program that is there already; DslError for a program of traffic control.
   */
  static attach(program: Program, interfaceName: string, { mode = 'auto' }: AttachOptions = {}): XdpLink {
    requireTypeFor('XdpLink', program);
    const index = indexToAttachTo(interfaceName);
    if (mode !== 'auto') return new XdpLink(attachIn(program, index, interfaceName, mode), mode);
    const native = tryAttach(program, index, 'native');
    if (typeof native === 'object') return new XdpLink(native, 'native');
    if (!FALLS_BACK.has(native)) throw attachError(interfaceName, index, 'native', native);
    const generic = attachIn(program, index, interfaceName, 'generic');
    return new XdpLink(
      generic,
      'generic',
      `the driver of ${interfaceName} refused native mode (${native}): ${reasonFor(native)}`,
    );
  }

  /** @throws SyscallError; DslError where another kind of link is pinned there. */
  static openPinned(path: string): XdpLink {
    return XdpLink.#adopt(openPinned(path, 'link'));
  }

  static openById(id: number): XdpLink {
    return XdpLink.#adopt(openById('LINK_GET_FD_BY_ID', id));
  }

  static #adopt(opened: Descriptor): XdpLink {
    return adopt(opened, (descriptor) => {
      const { interfaceIndex: index, programId } = readOpenedLink(descriptor, 'XdpLink');
      const mode = index === 0 ? undefined : readInterface(index).xdp.native === programId ? 'native' : 'generic';
      return new XdpLink(descriptor, mode);
    });
  }
}

/** What drivers answer when they have no native mode, or not for this set-up. */
const FALLS_BACK = new Set(['EOPNOTSUPP', 'EINVAL', 'E2BIG', 'ERANGE', 'ENOSPC']);

function reasonFor(errno: string): string {
  return errno === 'EOPNOTSUPP'
    ? 'it has none'
    : 'its MTU, queue count or offloads do not allow it (check the MTU, and ethtool -k for lro)';
}

function tryAttach(program: Program, index: number, mode: XdpMode): Descriptor | string {
  const attributes = attribute(attr.linkCreate, {
    programFd: program.fd,
    target: index,
    attachType: AttachType.XDP,
    flags: MODE_FLAGS[mode],
  });
  const result = tryCommand('LINK_CREATE', attributes);
  return result.ok ? new Descriptor(result.value, `attach XDP to interface ${String(index)}`) : result.errno;
}

function attachIn(program: Program, index: number, name: string, mode: XdpMode): Descriptor {
  const link = tryAttach(program, index, mode);
  if (typeof link === 'object') return link;
  throw attachError(name, index, mode, link);
}

function attachError(name: string, index: number, mode: XdpMode, errno: string): SyscallError {
  const what = `attach to ${name} in ${mode} mode`;
  if (errno === 'EBUSY' || errno === 'EEXIST') {
    return commandError('LINK_CREATE', what, errno, `${describeAttached(index)} is there already; detach it first`);
  }
  const driver = FALLS_BACK.has(errno) ? driverAdvice(index, mode, errno) : undefined;
  return commandError('LINK_CREATE', what, errno, driver);
}

function driverAdvice(index: number, mode: XdpMode, errno: string): string {
  const { kind, mtu } = readInterface(index);
  const of = kind === undefined ? '' : ` (${kind})`;
  if (mode !== 'native') return `generic mode does not work on this device${of}`;
  if (errno === 'EOPNOTSUPP') return `the driver${of} has no native mode; use generic mode`;
  return `the driver${of} refuses native mode at MTU ${String(mtu)}: ${reasonFor(errno)}; or use generic mode`;
}

/** The program that an interface runs, by name and number. */
function describeAttached(index: number): string {
  const { xdp } = readInterface(index);
  const id = xdp.native ?? xdp.generic ?? xdp.offloaded;
  if (id === undefined) return 'another program';
  using program = Program.openById(id);
  return `program ${program.name} (id ${String(id)}, ${xdp.native === id ? 'native' : 'generic'})`;
}
