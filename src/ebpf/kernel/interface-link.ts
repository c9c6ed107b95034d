import { DslError, SyscallError } from '../errors.ts';
import { attr, attribute } from '../sys/attr.ts';
import { command, objectInfo } from '../sys/bpf.ts';
import type { Descriptor } from '../sys/descriptor.ts';
import { interfaceIndex } from '../sys/libc.ts';
import { pinObject } from './pin.ts';
import { type LinkClass, type Program, requireTypeFor } from './program.ts';

const LINK_INFO_SIZE = 32;
/** `enum bpf_link_type` (linux/bpf.h): BPF_LINK_TYPE_XDP and BPF_LINK_TYPE_TCX. */
const LINK_TYPES: Record<LinkClass, number> = { XdpLink: 6, TcLink: 11 };

export interface LinkInfo {
  readonly id: number;
  readonly programId: number;
  /** 0 once the interface is gone. */
  readonly interfaceIndex: number;
}

/** `struct bpf_link_info` (linux/bpf.h): type, id, prog_id, then for XDP and tcx the interface. */
function readLinkInfo(fd: number): LinkInfo & { readonly type: number } {
  const info = objectInfo(fd, LINK_INFO_SIZE, 'link');
  return {
    type: info.readUInt32LE(0),
    id: info.readUInt32LE(4),
    programId: info.readUInt32LE(8),
    interfaceIndex: info.readUInt32LE(16),
  };
}

/** The state of a link that was opened. @throws DslError where it is one of another kind. */
export function readOpenedLink({ fd, what }: Descriptor, ofClass: LinkClass): LinkInfo {
  const { type, ...info } = readLinkInfo(fd);
  if (type === LINK_TYPES[ofClass]) return info;
  const [right] = Object.entries(LINK_TYPES).find(([, number]) => number === type) ?? [];
  const advice = right === undefined ? `its type is ${String(type)} (enum bpf_link_type)` : `use ${right}`;
  throw new DslError(`${what} as ${ofClass}: it is a link of another kind; ${advice}`);
}

/** The number of an interface of this network namespace. @throws SyscallError where there is none of this name. */
export function indexToAttachTo(interfaceName: string): number {
  const index = interfaceIndex(interfaceName);
  if (index !== undefined) return index;
  throw new SyscallError(
    'if_nametoindex',
    'ENODEV',
    `attach to ${interfaceName}: there is no such interface in this network namespace; ip link lists them`,
  );
}

/** A program on an interface. It stays there until the link is disposed of, or, once pinned, until the pin is removed. */
export abstract class InterfaceLink implements Disposable {
  readonly #descriptor: Descriptor;
  readonly #class: LinkClass;

  protected constructor(descriptor: Descriptor, ofClass: LinkClass) {
    this.#descriptor = descriptor;
    this.#class = ofClass;
  }

  get fd(): number {
    return this.#descriptor.fd;
  }

  get info(): LinkInfo {
    const { type: _type, ...info } = readLinkInfo(this.fd);
    return info;
  }

  /** 0 once the interface is gone. */
  get interfaceIndex(): number {
    return this.info.interfaceIndex;
  }

  get programId(): number {
    return this.info.programId;
  }

  /** Swaps the program in one step: each frame sees the old one or the new one. @throws SyscallError; DslError for a program that this link does not take. */
  update(program: Program): void {
    requireTypeFor(this.#class, program);
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
