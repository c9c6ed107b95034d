import { SyscallError } from '../errors.ts';
import { attr, attribute } from '../sys/attr.ts';
import { command, objectInfo, openCommand } from '../sys/bpf.ts';
import type { Descriptor } from '../sys/descriptor.ts';
import { interfaceIndex } from '../sys/libc.ts';
import { openPinned, pinObject } from './pin.ts';
import { type Program, requireTypeFor } from './program.ts';

/** BPF_TCX_INGRESS and BPF_TCX_EGRESS (include/uapi/linux/bpf.h, Linux 6.6; the header that the other numbers come from is older). */
const TCX = { ingress: 46, egress: 47 } as const;
const LINK_INFO_SIZE = 32;

/** A traffic-control program on an interface by a tcx link (Linux 6.6), beside others that may be there. It stays as long as the link. */
export class TcLink implements Disposable {
  readonly #descriptor: Descriptor;

  private constructor(descriptor: Descriptor) {
    this.#descriptor = descriptor;
  }

  /** Puts a program behind those that are on the interface of this network namespace already. @throws SyscallError; DslError for an XDP program. */
  static attach(program: Program, interfaceName: string, direction: keyof typeof TCX = 'ingress'): TcLink {
    requireTypeFor('TcLink', program);
    const index = interfaceIndex(interfaceName);
    if (index === undefined) {
      throw new SyscallError(
        'if_nametoindex',
        'ENODEV',
        `attach to ${interfaceName}: there is no such interface in this network namespace; ip link lists them`,
      );
    }
    const attributes = attribute(attr.linkCreate, {
      programFd: program.fd,
      target: index,
      attachType: TCX[direction],
    });
    return new TcLink(openCommand('LINK_CREATE', attributes, `attach to ${interfaceName} in traffic control`));
  }

  static openPinned(path: string): TcLink {
    return new TcLink(openPinned(path, 'link'));
  }

  get fd(): number {
    return this.#descriptor.fd;
  }

  /** 0 once the interface is gone. `struct bpf_link_info` (linux/bpf.h): type, id, prog_id, then for tcx the interface. */
  get interfaceIndex(): number {
    return objectInfo(this.fd, LINK_INFO_SIZE, 'link').readUInt32LE(16);
  }

  get programId(): number {
    return objectInfo(this.fd, LINK_INFO_SIZE, 'link').readUInt32LE(8);
  }

  /** Swaps the program in one step. @throws SyscallError; DslError for an XDP program. */
  update(program: Program): void {
    requireTypeFor('TcLink', program);
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
