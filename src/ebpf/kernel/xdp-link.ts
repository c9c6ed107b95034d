import { SyscallError } from '../errors.ts';
import { attr, attribute } from '../sys/attr.ts';
import { adopt, command, commandError, objectInfo, openById, tryCommand } from '../sys/bpf.ts';
import { Descriptor } from '../sys/descriptor.ts';
import { interfaceIndex } from '../sys/libc.ts';
import { readInterface } from '../sys/link-state.ts';
import { AttachType } from '../uapi/constants.gen.ts';
import { openPinned, pinObject } from './pin.ts';
import { Program, requireTypeFor } from './program.ts';

/** Native runs in the driver, generic after the kernel made its own packet. */
export type XdpMode = 'native' | 'generic';

/** XDP_FLAGS_* (linux/if_link.h). */
const MODE_FLAGS: Record<XdpMode, number> = { native: 1 << 2, generic: 1 << 1 };
const LINK_INFO_SIZE = 32;

export interface XdpLinkInfo {
  readonly id: number;
  readonly programId: number;
  /** 0 once the interface is gone. */
  readonly interfaceIndex: number;
}

export interface AttachOptions {
  /** `auto`, the default, tries native first and falls back to generic, and says so in `link.fallback`. */
  readonly mode?: XdpMode | 'auto';
}

/** A program on an interface. It stays there until the link is disposed of, or, once pinned, until the pin is removed. */
export class XdpLink implements Disposable {
  readonly #descriptor: Descriptor;
  /** The mode it runs in; undefined for a link that was opened, where the interface is gone. */
  readonly mode: XdpMode | undefined;
  /** Why native was not had, where `auto` fell back to generic. */
  readonly fallback: string | undefined;

  private constructor(descriptor: Descriptor, mode: XdpMode | undefined, fallback?: string) {
    this.#descriptor = descriptor;
    this.mode = mode;
    this.fallback = fallback;
  }

  /**
   * Puts a program on an interface of this network namespace.
   * @throws SyscallError that names the interface, the mode, and the program that is there already; DslError for a program of traffic control.
   */
  static attach(program: Program, interfaceName: string, { mode = 'auto' }: AttachOptions = {}): XdpLink {
    requireTypeFor('XdpLink', program);
    const index = interfaceIndex(interfaceName);
    if (index === undefined) {
      throw new SyscallError(
        'if_nametoindex',
        'ENODEV',
        `attach to ${interfaceName}: there is no such interface in this network namespace; ip link lists them`,
      );
    }
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

  static openPinned(path: string): XdpLink {
    return XdpLink.#adopt(openPinned(path, 'link'));
  }

  static openById(id: number): XdpLink {
    return XdpLink.#adopt(openById('LINK_GET_FD_BY_ID', id));
  }

  static #adopt(opened: Descriptor): XdpLink {
    return adopt(opened, (descriptor) => {
      const { interfaceIndex: index, programId } = readLinkInfo(descriptor.fd);
      if (index === 0) return new XdpLink(descriptor, undefined);
      const { xdp } = readInterface(index);
      return new XdpLink(descriptor, xdp.native === programId ? 'native' : 'generic');
    });
  }

  get fd(): number {
    return this.#descriptor.fd;
  }

  get info(): XdpLinkInfo {
    return readLinkInfo(this.fd);
  }

  /** 0 once the interface is gone. */
  get interfaceIndex(): number {
    return this.info.interfaceIndex;
  }

  get programId(): number {
    return this.info.programId;
  }

  /** Swaps the program in one step: each frame sees the old one or the new one. @throws SyscallError; DslError for a program of traffic control. */
  update(program: Program): void {
    requireTypeFor('XdpLink', program);
    const attributes = attribute(attr.linkUpdate, { linkFd: this.fd, newProgramFd: program.fd });
    command('LINK_UPDATE', attributes, `replace the program of a link by ${program.name}`);
  }

  /** Takes the program off the interface now, though the link object lives on. */
  detach(): void {
    command('LINK_DETACH', attribute(attr.descriptor, { fd: this.fd }), 'detach link');
  }

  pin(path: string): void {
    pinObject(this.fd, path, 'link');
  }

  [Symbol.dispose](): void {
    this.#descriptor[Symbol.dispose]();
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
  return mode === 'native'
    ? `the driver${kind === undefined ? '' : ` (${kind})`} refuses native mode at MTU ${String(mtu)}: ${reasonFor(errno)}; or use generic mode`
    : `generic mode does not work on this device${kind === undefined ? '' : ` (${kind})`}`;
}

/** The program that an interface runs, by name and number. */
function describeAttached(index: number): string {
  const { xdp } = readInterface(index);
  const id = xdp.native ?? xdp.generic ?? xdp.offloaded;
  if (id === undefined) return 'another program';
  using program = Program.openById(id);
  return `program ${program.name} (id ${String(id)}, ${xdp.native === id ? 'native' : 'generic'})`;
}

/** `struct bpf_link_info` (linux/bpf.h): type, id, prog_id, then for XDP the interface. */
function readLinkInfo(fd: number): XdpLinkInfo {
  const info = objectInfo(fd, LINK_INFO_SIZE, 'link');
  return { id: info.readUInt32LE(4), programId: info.readUInt32LE(8), interfaceIndex: info.readUInt32LE(16) };
}
