/** The one door to the C library. Nothing else imports koffi. Pointers are Buffers, or addresses as bigint. */
import { constants } from 'node:os';
import koffi from 'koffi';
import { faultOf } from './fault.ts';

const libc = koffi.load(null);

/** Number of bpf(2), by the names that Node gives to architectures. */
const SYS_BPF: Partial<Record<NodeJS.Architecture, number>> = {
  x64: 321,
  arm64: 280,
  riscv64: 280,
  s390x: 351,
  ppc64: 361,
};

const syscall = libc.func('long syscall(long number, long a, void *b, long c, long d, long e, long f)');
const mmapFunction = libc.func('void *mmap(void *at, size_t length, int protection, int flags, int fd, long offset)');
const munmapFunction = libc.func('int munmap(void *at, size_t length)');
const closeFunction = libc.func('int close(int fd)');
const setnsFunction = libc.func('int setns(int fd, int kind)');
const mountFunction = libc.func(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
);
const nameToIndex = libc.func('unsigned int if_nametoindex(const char *name)');
const indexToName = libc.func('const char *if_indextoname(unsigned int index, void *name)');
const socketFunction = libc.func('int socket(int domain, int type, int protocol)');
const sendFunction = libc.func('long send(int fd, const void *data, size_t length, int flags)');
const recvFunction = libc.func('long recv(int fd, void *data, size_t length, int flags)');
const setOption = libc.func('int setsockopt(int fd, int level, int option, const void *value, unsigned int length)');
const clockResolution = libc.func('int clock_getres(int clock, void *result)');
const signalMask = libc.func('int pthread_sigmask(int how, const void *set, void *old)');
const getPageSize = libc.func('int getpagesize(void)');
const pollFunction = libc.func('int poll(void *descriptors, unsigned long count, int timeout)');
const flockFunction = libc.func('int flock(int fd, int operation)');
const setAffinity = libc.func('int sched_setaffinity(int pid, size_t size, const void *mask)');

const errnoNames = new Map<number, string>(Object.entries(constants.errno).map(([name, number]) => [number, name]));
/** What bpf(2) returns beyond the errno values that user space has names for (include/linux/errno.h). */
errnoNames.set(524, 'ENOTSUPP');

/** The result of a call: a value that is not negative, or the name of the errno. */
export type Result = { readonly ok: true; readonly value: number } | { readonly ok: false; readonly errno: string };

function result(value: number | bigint): Result {
  if (value >= 0) return { ok: true, value: Number(value) };
  return { ok: false, errno: errnoNames.get(koffi.errno()) ?? `errno ${String(koffi.errno())}` };
}

/** bpf(2). The kernel writes its answers into `attr`. */
export function bpf(command: number, attr: Buffer): Result {
  const number = SYS_BPF[process.arch];
  if (number === undefined)
    throw new Error(`call bpf: the number of the system call on ${process.arch} is not known here`);
  return result(syscall(number, command, attr, attr.length, 0, 0, 0) as number | bigint);
}

/** `sigset_t` of the C library, all signals in it; the library leaves out those that it needs itself. */
const ALL_SIGNALS = Buffer.alloc(128, 0xff);
const SIG_SETMASK = 2;

/** Runs `action` while signals that come for this thread wait; those for the process go to another thread, or wait as well. */
export function withSignalsBlocked<T>(action: () => T): T {
  const before = Buffer.alloc(ALL_SIGNALS.length);
  signalMask(SIG_SETMASK, ALL_SIGNALS, before);
  try {
    return action();
  } finally {
    signalMask(SIG_SETMASK, before, null);
  }
}

/**
 * The buffers whose addresses were taken last. An address keeps nothing alive: between here and the system call the collector could free a buffer
 * that optimized code no longer names. No call takes this many.
 */
const taken: Uint8Array[] = [];
const TAKEN = 8;
let nextTaken = 0;

/** The address of a buffer's first byte, for the next system call: the buffer lives as long as that. */
export function addressOf(buffer: Uint8Array): bigint {
  taken[nextTaken++ % TAKEN] = buffer;
  return koffi.address(buffer);
}

let knownPageSize: number | undefined;

/** Bytes of a page of this machine's memory, which mappings begin and end at: 4096 on x86, up to 65536 on arm64 and ppc64. */
export const pageSize = (): number => (knownPageSize ??= getPageSize() as number);

export const Protection = { READ: 1, WRITE: 2 } as const;

/** A shared mapping of a descriptor, until it is disposed of; afterwards its memory must not be touched. */
export class Mapping implements Disposable {
  readonly memory: ArrayBuffer;
  readonly #address: bigint;
  #open = true;

  private constructor(address: bigint, length: number) {
    this.#address = address;
    this.memory = koffi.view(address, length);
  }

  static map(fd: number, length: number, offset: number, protection: number): Mapping | { errno: string } {
    const fault = faultOf('mmap');
    if (fault !== undefined) return { errno: fault };
    const MAP_SHARED = 1;
    const address = mmapFunction(null, length, protection, MAP_SHARED, fd, offset) as bigint;
    if (BigInt.asIntN(64, address) === -1n) {
      return { errno: errnoNames.get(koffi.errno()) ?? String(koffi.errno()) };
    }
    return new Mapping(address, length);
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    munmapFunction(this.#address, this.memory.byteLength);
  }
}

export function close(fd: number): void {
  closeFunction(fd);
}

/** Moves this thread into a network namespace. Other threads, and sockets that exist, stay where they are. */
export function setNetworkNamespace(fd: number): Result {
  const CLONE_NEWNET = 0x40000000;
  return result(setnsFunction(fd, CLONE_NEWNET) as number);
}

export function mount(source: string, target: string, type: string): Result {
  return result(mountFunction(source, target, type, 0, null) as number);
}

/** The number of an interface in the current network namespace, or undefined. */
export function interfaceIndex(name: string): number | undefined {
  const index = nameToIndex(name) as number;
  return index === 0 ? undefined : index;
}

export function interfaceName(index: number): string | undefined {
  return (indexToName(index, Buffer.alloc(16)) as string | null) ?? undefined;
}

/** A raw netlink exchange: sends `request` over NETLINK_ROUTE and returns the first answer. */
export function netlinkRoute(request: Buffer): Result & { readonly answer?: Buffer } {
  const [AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_ROUTE] = [16, 3 | 0o2000000, 0];
  const socket = result(socketFunction(AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_ROUTE) as number);
  if (!socket.ok) return socket;
  try {
    const sent = result(sendFunction(socket.value, request, request.length, 0) as number | bigint);
    if (!sent.ok) return sent;
    const answer = Buffer.alloc(32768);
    const received = result(recvFunction(socket.value, answer, answer.length, 0) as number | bigint);
    return received.ok ? { ...received, answer: answer.subarray(0, received.value) } : received;
  } finally {
    close(socket.value);
  }
}

/** A socket of NETLINK_ROUTE, in the network namespace that it was opened in, until it is disposed of. */
export class RouteSocket implements Disposable {
  #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  static open(): RouteSocket | { readonly errno: string } {
    const [AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_ROUTE] = [16, 3 | 0o2000000, 0];
    const socket = result(socketFunction(AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_ROUTE) as number);
    if (!socket.ok) return socket;
    // Then the kernel itself leaves out what was not asked for: other routing tables may hold a million routes.
    const [SOL_NETLINK, NETLINK_GET_STRICT_CHK] = [270, 12];
    setOption(socket.value, SOL_NETLINK, NETLINK_GET_STRICT_CHK, Buffer.from([1, 0, 0, 0]), 4);
    return new RouteSocket(socket.value);
  }

  /** Asks for a dump: all messages up to the last; none where the kernel has no such table. */
  dump(request: Buffer): Result & { readonly messages?: readonly Buffer[] } {
    const [NLMSG_ERROR, NLMSG_DONE] = [2, 3];
    const sent = result(sendFunction(this.#fd, request, request.length, 0) as number | bigint);
    if (!sent.ok) return sent;
    const messages: Buffer[] = [];
    for (;;) {
      const part = Buffer.alloc(65_536);
      const received = result(recvFunction(this.#fd, part, part.length, 0) as number | bigint);
      if (!received.ok) return received;
      for (let at = 0; at + 16 <= received.value;) {
        const length = part.readUInt32LE(at);
        const type = part.readUInt16LE(at + 4);
        if (type === NLMSG_DONE || type === NLMSG_ERROR || length < 16) return { ok: true, value: 0, messages };
        messages.push(part.subarray(at, at + length));
        at += (length + 3) & ~3;
      }
    }
  }

  /** The number may be another file's from here on, so it is forgotten. */
  [Symbol.dispose](): void {
    if (this.#fd >= 0) close(this.#fd);
    this.#fd = -1;
  }
}

/** Keeps a thread, this one unless told, on one CPU. */
export function pinToCpu(cpu: number, thread = 0): Result {
  const mask = Buffer.alloc(128);
  mask[cpu >> 3] = 1 << (cpu & 7);
  return result(setAffinity(thread, mask.length, mask) as number);
}

/** How long the kernel's tick is, in nanoseconds, or undefined where it does not say: the resolution of CLOCK_MONOTONIC_COARSE. */
export function tickNanoseconds(): bigint | undefined {
  const CLOCK_MONOTONIC_COARSE = 6;
  const resolution = Buffer.alloc(16);
  if (!result(clockResolution(CLOCK_MONOTONIC_COARSE, resolution) as number).ok) return undefined;
  return resolution.readBigInt64LE(8);
}

/** Whether a write to a descriptor would not have to wait, or would fail at once. */
export function canWrite(fd: number): boolean {
  const POLLOUT = 4;
  const descriptor = Buffer.alloc(8); // struct pollfd
  descriptor.writeInt32LE(fd, 0);
  descriptor.writeInt16LE(POLLOUT, 4);
  return (pollFunction(descriptor, 1, 0) as number) !== 0;
}

/** Locks the file of a descriptor for this process alone, until it is closed (flock(2)); false if another process holds the lock. */
export function lockFile(fd: number): boolean {
  const LOCK_EX_NB = 2 | 4;
  return (flockFunction(fd, LOCK_EX_NB) as number) === 0;
}

/** Calls back when a descriptor becomes readable, on Node's event loop: nothing runs while nothing comes. */
export class ReadinessWatch implements Disposable {
  readonly #handle: ReturnType<typeof koffi.node.poll>;

  constructor(fd: number, onReadable: () => void) {
    this.#handle = koffi.node.poll(fd, { readable: true }, onReadable);
  }

  [Symbol.dispose](): void {
    this.#handle.stop();
    this.#handle.close();
  }
}
