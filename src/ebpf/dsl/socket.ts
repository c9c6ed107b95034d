import type { CompareName } from '../asm/opcode.ts';
import type { Operand } from '../ir/ir.ts';
import { helpers } from '../uapi/helpers.gen.ts';
import type { BuilderCore } from './blocks.ts';
import { Condition } from './condition.ts';
import type { Emitter, Scope } from './emitter.ts';
import type { ContextValue } from './helper-arguments.ts';
import { Int } from './int.ts';
import { Maybe } from './maybe.ts';

/** Offset of `state` in `struct bpf_sock` (linux/bpf.h). */
const SOCK_STATE = 72;

/** States of a TCP socket (include/net/tcp_states.h). */
export const TCP_TIME_WAIT = 6;
export const TCP_LISTEN = 10;

/** Something that can be handed to a helper or kernel function that wants a socket. */
export interface SocketPointer {
  readonly socket: number;
}

/** The register that a socket is in, in the function and the block that it was made in. */
class Reference implements SocketPointer {
  protected readonly emitter: Emitter;
  readonly #scope: Scope;
  readonly #register: number;

  constructor(emitter: Emitter, register: number) {
    this.emitter = emitter;
    this.#scope = emitter.scope;
    this.#register = register;
  }

  /** @throws DslError in another function, and after the block. */
  get socket(): number {
    this.emitter.checkActive('socket', 'look it up in the function');
    this.emitter.checkUsable(this.#scope);
    return this.#register;
  }
}

/** A kernel's `struct tcp_sock` or `struct tcp_timewait_sock`. Its fields lie where this kernel's BTF says (`kernelFieldOffset`). */
export class TcpSocket extends Reference {
  /** Four bytes of it at an offset in bytes, in host order. */
  u32(offset: number): Int<32> {
    const dst = this.emitter.vreg();
    this.emitter.emit({ op: 'load', size: 4, dst, from: { base: this.socket, offset }, note: 'a field of the socket' });
    return new Int(this.emitter, 32, dst);
  }

  /** One byte of it. */
  u8(offset: number): Int<8> {
    const dst = this.emitter.vreg();
    this.emitter.emit({ op: 'load', size: 1, dst, from: { base: this.socket, offset }, note: 'tcp_sock' });
    return new Int(this.emitter, 8, dst);
  }

  /** Whether a pointer in it, at an offset in bytes, is null. */
  isNull(offset: number): Condition {
    const dst = this.emitter.vreg();
    this.emitter.emit({ op: 'load', size: 8, dst, from: { base: this.socket, offset }, note: 'tcp_sock' });
    return new Condition(this.emitter, { kind: 'compare', compare: 'eq', width: 64, a: dst, b: 0n });
  }
}

/** A socket that a look-up gave. The reference to it is dropped at the end of the block it was given to. */
export class Socket<R> extends Reference {
  readonly #core: BuilderCore<R>;

  constructor(core: BuilderCore<R>, register: number) {
    super(core.emitter, register);
    this.#core = core;
  }

  /** The state of a TCP socket, `TCP_LISTEN` say. */
  get state(): Int<32> {
    const { emitter } = this.#core;
    const dst = emitter.vreg();
    emitter.emit({ op: 'load', size: 4, dst, from: { base: this.socket, offset: SOCK_STATE }, note: 'sk->state' });
    return new Int(emitter, 32, dst);
  }

  /** The same socket as a full TCP socket, if it is one. Linux 5.9. */
  asTcp(): Maybe<TcpSocket, R> {
    return this.#as('skc_to_tcp_sock', 'asTcp');
  }

  /** The same socket as a connection in TIME-WAIT, if it is one. Linux 5.9. */
  asTimeWait(): Maybe<TcpSocket, R> {
    return this.#as('skc_to_tcp_timewait_sock', 'asTimeWait');
  }

  #as(helper: 'skc_to_tcp_sock' | 'skc_to_tcp_timewait_sock', method: string): Maybe<TcpSocket, R> {
    const { emitter } = this.#core;
    const dst = emitter.vreg();
    emitter.emit({ op: 'call', helper: helpers[helper].id, args: [this.socket], dst, note: helper });
    const compare: CompareName = 'ne';
    return new Maybe(
      this.#core,
      { kind: 'compare', compare, width: 64, a: dst, b: 0n },
      () => new TcpSocket(emitter, dst),
      `the result of ${method}`,
    );
  }
}

/** In the network namespace of the packet's device (BPF_F_CURRENT_NETNS). */
const CURRENT_NETNS = (1n << 64n) - 1n;

/**
 * Looks up the TCP socket of a tuple (`struct bpf_sock_tuple`). `some` runs where there is one; it cannot leave the program, so the
 * reference is dropped on every path.
 */
export function withTcpSocket<R>(
  core: BuilderCore<R>,
  context: ContextValue,
  tuple: Operand,
  size: number,
  some: (socket: Socket<R>) => void,
): void {
  const emitter: Emitter = core.emitter;
  const dst = emitter.vreg();
  emitter.emit({
    op: 'call',
    helper: helpers.skc_lookup_tcp.id,
    args: [context.context, tuple, BigInt(size), CURRENT_NETNS, 0n],
    dst,
    note: 'skc_lookup_tcp',
  });
  core.either(
    { kind: 'compare', compare: 'ne', width: 64, a: dst, b: 0n },
    () => {
      emitter.withoutLeaving(
        'leave with a socket: the block leaves before its socket is released; carry the outcome out with $.let',
        () => {
          some(new Socket(core, dst));
        },
      );
      emitter.emit({ op: 'call', helper: helpers.sk_release.id, args: [dst], note: 'sk_release' });
    },
    undefined,
  );
}
