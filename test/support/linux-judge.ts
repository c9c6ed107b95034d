/**
 * Asks Linux itself: frames go over a veth link to a host with a listener, and a program on each side counts the SYN-ACKs. What leaves
 * the host by traffic control was made by its TCP; what only arrives at the client was made by Seawall, in XDP.
 */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { client, LAB_INTERFACE, labDown, labUp, namespaceOf, server } from '../../lab/topology.ts';
import {
  arrayMap,
  type Builder,
  type Exited,
  type Packet,
  Program,
  type ProgramSpec,
  TC,
  tc,
  TcLink,
  u64,
  xdp,
  XDP,
  XdpLink,
} from '../../src/ebpf/index.ts';
import { IPPROTO, Ipv4, Ipv6, Tcp, TCP_FLAG } from '../../src/net/headers.ts';
import { parseLink } from '../../src/dataplane/frame/link.ts';
import { type PolicyInput, protect } from '../../src/index.ts';

/** Sources end in a number of 16 bits, by which their answers are counted. */
export const SLOTS = 1 << 16;
const answersMap = arrayMap('answers', { value: u64, maxEntries: SLOTS, mmap: true });

/** Counts a SYN-ACK for the host that it goes to. */
function countAnswer<R>($: Builder<R>, packet: Packet<R>, done: () => R): R | Exited {
  const link = parseLink($, packet, done, 'ethernet');
  const slot = $.let($.u32(0));
  $.if(
    link.carries(4),
    () => {
      const ip = packet.take(Ipv4).orExit(done);
      $.if(ip.protocol.ne(IPPROTO.TCP), done);
      slot.set(ip.daddr.host().and(0xffff));
      const options = ip.versionIhl.and(0x0f).sub(5).u32().shl(2);
      packet.skip(options.and(63), { max: 63 }).orExit(done);
    },
    () => {
      $.if(link.carries(6).not(), done);
      const ip = packet.take(Ipv6).orExit(done);
      $.if(ip.nextHeader.ne(IPPROTO.TCP), done);
      slot.set(ip.daddr.part(8).shr(48).u16().toNetwork().raw().u32());
    },
  );
  const tcp = packet.take(Tcp).orExit(done);
  $.if(tcp.flags.and(TCP_FLAG.SYN | TCP_FLAG.ACK).ne(TCP_FLAG.SYN | TCP_FLAG.ACK), done);
  $.lookup(answersMap, slot).match({
    some: (count) => {
      count.ref('value').add(1);
    },
  });
  return done();
}

const madeByKernel = tc('made_by_kernel', ($, packet) => countAnswer($, packet, () => TC.UNSPEC));
/** Nothing behind it sees the answers: no RST takes a half-open connection away. */
const arrived = xdp('arrived', ($, packet) => countAnswer($, packet, () => XDP.DROP));
const passing = xdp('passing', () => XDP.PASS);

/** Sends what it is given: a number of frames, then each behind its length. */
const SENDER = `
import errno, socket, struct, sys
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
link.bind(("${LAB_INTERFACE}", 0))
while head := sys.stdin.buffer.read(4):
    for _ in range(struct.unpack("<I", head)[0]):
        size, = struct.unpack("<H", sys.stdin.buffer.read(2))
        frame = sys.stdin.buffer.read(size)
        while True:
            try:
                link.send(frame)
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS: raise
    print("sent", flush=True)`;

const LISTENER = `require('node:net').createServer().listen({ port: 80, host: '::', backlog: 65535 }, () => console.log('listening'))`;

/** How long the last frame of a batch may take. */
const PATIENCE_MS = 20_000;

/** SYN-ACKs for each slot. */
export interface Answers {
  /** What TCP of the host made. */
  readonly kernel: Uint8Array;
  /** All that arrived at the client. */
  readonly arrived: Uint8Array;
}

export class LinuxJudge implements Disposable {
  readonly #lab: string;
  readonly #last: () => Buffer;
  readonly #resources: Disposable[] = [];
  #sender!: ChildProcess;
  #kernel!: BigUint64Array;
  #arrived!: BigUint64Array;

  private constructor(lab: string, last: () => Buffer) {
    this.#lab = lab;
    this.#last = last;
  }

  /** Builds the link. `last` makes a SYN of a real client in slot 0, another one each time: when it is answered, all before it are judged. */
  static async create(lab: string, last: () => Buffer): Promise<LinuxJudge> {
    const judge = new LinuxJudge(lab, last);
    try {
      await judge.#build();
    } catch (error) {
      judge[Symbol.dispose]();
      throw error;
    }
    return judge;
  }

  async #build(): Promise<void> {
    labDown(this.#lab);
    labUp(this.#lab, { bare: true });
    const [left, right] = [namespaceOf(client, this.#lab), namespaceOf(server, this.#lab)];
    right.run(() => {
      const set = (name: string, value: number): void => {
        writeFileSync(`/proc/sys/net/${name}`, String(value));
      };
      set('core/somaxconn', 65_535);
      // Half-open connections and halves of datagrams must not crowd out what comes behind them.
      set('ipv4/tcp_synack_retries', 0);
      for (const family of ['ipv4/ip', 'ipv6/ip6']) {
        set(`${family}frag_high_thresh`, 1 << 29);
        set(`${family}frag_time`, 3);
      }
    });
    for (const netns of [left, right]) {
      // One queue keeps the order.
      netns.run(() => execFileSync('ethtool', ['-L', LAB_INTERFACE, 'rx', '1', 'tx', '1'], { stdio: 'ignore' }));
    }
    // A qdisc holds back what the link has no room for.
    left.run(() => execFileSync('tc', ['qdisc', 'add', 'dev', LAB_INTERFACE, 'root', 'pfifo', 'limit', '1000']));
    this.#kernel = this.#counting(madeByKernel, (program) =>
      right.run(() => TcLink.attach(program, LAB_INTERFACE, 'egress')),
    );
    this.#arrived = this.#counting(arrived, (program) =>
      left.run(() => XdpLink.attach(program, LAB_INTERFACE, { mode: 'native' })),
    );
    const listener = right.spawn(process.execPath, ['-e', LISTENER], { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#sender = left.spawn('python3', ['-c', SENDER], { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(listener.stdout!, 'data');
  }

  #counting(spec: ProgramSpec, attach: (program: Program) => Disposable): BigUint64Array {
    const program = this.#keep(Program.load(spec));
    this.#keep(attach(program));
    return new BigUint64Array(this.#keep(program.map(answersMap).mmap()).memory, 0, SLOTS);
  }

  #keep<T extends Disposable>(resource: T): T {
    this.#resources.push(resource);
    return resource;
  }

  /** What the host runs in XDP meanwhile; a program that only passes where there is no policy. */
  guard(policy?: PolicyInput): Disposable {
    return namespaceOf(server, this.#lab).run(() => {
      if (policy) return protect(LAB_INTERFACE, policy);
      const program = Program.load(passing);
      const link = XdpLink.attach(program, LAB_INTERFACE, { mode: 'native' });
      return {
        [Symbol.dispose]: () => {
          link[Symbol.dispose]();
          program[Symbol.dispose]();
        },
      };
    });
  }

  /** Sends the frames in this order, and counts until the last is judged. @throws Error where some are lost. */
  async answers(frames: readonly Buffer[]): Promise<Answers> {
    this.#kernel.fill(0n);
    this.#arrived.fill(0n);
    const lost = this.#lost();
    const all = [...frames, this.#last()];
    const head = Buffer.alloc(4);
    head.writeUInt32LE(all.length);
    const parts = all.flatMap((frame) => [Buffer.from([frame.length & 0xff, frame.length >> 8]), frame]);
    this.#sender.stdin!.write(Buffer.concat([head, ...parts]));
    await once(this.#sender.stdout!, 'data');
    const deadline = Date.now() + PATIENCE_MS;
    while (this.#arrived[0] === 0n) {
      if (Date.now() > deadline) throw new Error('wait for the last answer: it did not come');
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    if (this.#lost() !== lost) throw new Error(`send ${String(all.length)} frames: the link lost some`);
    return { kernel: Uint8Array.from(this.#kernel, Number), arrived: Uint8Array.from(this.#arrived, Number) };
  }

  /** Frames that the link did not take. */
  #lost(): number {
    const text = namespaceOf(client, this.#lab).run(() => readFileSync('/proc/thread-self/net/dev', 'utf8'));
    const fields = text.split(`${LAB_INTERFACE}:`)[1]!.trim().split(/\s+/);
    return Number(fields[11]);
  }

  [Symbol.dispose](): void {
    for (const resource of this.#resources.toReversed()) resource[Symbol.dispose]();
    labDown(this.#lab);
  }
}
