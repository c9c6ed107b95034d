import { decodeValue, type Program, RingBuffer, TcLink, XdpLink, type XdpMode } from '../ebpf/index.ts';
import { SynEvent } from '../dataplane/outcome/events.ts';
import { type Protection, protection } from '../dataplane/pipeline.ts';
import { type Policy, resolvePolicy } from '../policy/policy.ts';
import type { PolicyInput } from '../policy/schema.ts';
import { settleChallenger, Sysctls } from './challenger.ts';
import { rotatedKeys, ROTATE_EVERY_MS } from './cookie-keys.ts';
import { Counters, type Totals } from './counters.ts';
import { hostClock } from './host-clock.ts';
import { type FindMap, KernelMaps } from './kernel-maps.ts';
import { listCapacity, LiveLists, readLists } from './lists/lists.ts';
import { loadPrograms } from './load-programs.ts';
import { Owned } from './owned.ts';
import { Pins } from './pins.ts';
import { selfTest } from './self-test.ts';
import { type SynReport, synReport } from './syn-report.ts';

/** Totals since the protection began. */
export interface Stats extends Totals {
  /** Events that no reader took in time. */
  readonly lostEvents: bigint;
}

export interface ProtectOptions {
  /** `auto`, the default, prefers native and says in `fallback` why it is not native. */
  readonly mode?: XdpMode | 'auto';
  /** Pins program and maps, so that the protection outlives this process unless it is disposed of; takes over what is pinned. */
  readonly pin?: boolean;
}

/** What is in force: a policy, its maps in the kernel, its lists and its program. */
class Force implements Disposable {
  /** The policy changes where only its lists do. */
  protection: Protection;
  readonly maps: KernelMaps;
  readonly lists: LiveLists;
  readonly program: Program;
  /** The half of the form `assign` in traffic control. */
  readonly accept: Program | undefined;
  /** Which form of challenge was taken, and why. */
  readonly note: string;
  readonly #owned = new Owned();

  /** Makes everything and tests it; nothing is attached yet. Maps that `find` has are taken over. */
  constructor(interfaceName: string, policy: Policy, find: FindMap | undefined) {
    const lists = readLists(policy);
    const { challenger, note } = settleChallenger(policy, interfaceName);
    this.note = note;
    this.protection = protection(policy, { clock: hostClock(), lists: listCapacity(lists), challenger });
    selfTest(this.protection);
    try {
      this.maps = this.#owned.own(KernelMaps.create(this.protection.maps, policy, find));
      this.lists = this.#owned.own(new LiveLists(this.maps, this.protection.maps, lists));
      const { program, accept } = loadPrograms(this.protection, { maps: this.maps.all });
      this.program = this.#owned.own(program);
      this.accept = accept && this.#owned.own(accept);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}

/** An interface under protection, until it is disposed of. */
export class ProtectedInterface implements Disposable {
  readonly interface: string;
  readonly #link: XdpLink;
  readonly #pins: Pins | undefined;
  #force: Force;
  #acceptLink: TcLink | undefined;
  readonly #sysctls = new Sysctls();
  readonly #counters = new Counters();
  readonly #readers = new Set<RingBuffer>();
  readonly #rotation: NodeJS.Timeout;
  #open = true;

  constructor(interfaceName: string, policy: Policy, { mode = 'auto', pin = false }: ProtectOptions) {
    this.interface = interfaceName;
    this.#pins = pin ? new Pins(interfaceName) : undefined;
    this.#force = new Force(interfaceName, policy, this.#pins?.find);
    let link: XdpLink | undefined;
    try {
      this.#sysctls.settle(policy, this.#force.protection.challenger);
      this.#acceptLink = this.#pins?.openAcceptLink();
      // Whoever accepts is there before whoever challenges.
      this.#linkAccept();
      link = this.#pins?.openLink();
      if (link) link.update(this.#force.program);
      else link = XdpLink.attach(this.#force.program, interfaceName, { mode });
      this.#link = link;
      this.#pins?.keepMaps(this.#force.maps);
      this.#pins?.keepLink(link);
    } catch (error) {
      link?.[Symbol.dispose]();
      this.#acceptLink?.[Symbol.dispose]();
      this.#sysctls[Symbol.dispose]();
      this.#force[Symbol.dispose]();
      throw error;
    }
    this.#rotation = setInterval(() => {
      this.rotateCookieKeys();
    }, ROTATE_EVERY_MS).unref();
  }

  /** Gives the slot after the next a new key for cookies; done by itself once a slot, half a minute. */
  rotateCookieKeys(): void {
    const map = this.#force.maps.get(this.#force.protection.maps.keys);
    // The program's clock is the same one.
    map.update(0, rotatedKeys(map.lookup(0)!, process.hrtime.bigint()));
  }

  /** Puts the accepting half in its place, or takes it away where it is not needed. */
  #linkAccept(): void {
    const { accept } = this.#force;
    if (!accept) {
      this.#acceptLink?.[Symbol.dispose]();
      this.#acceptLink = undefined;
    } else if (this.#acceptLink) this.#acceptLink.update(accept);
    else this.#acceptLink = TcLink.attach(accept, this.interface);
    this.#pins?.keepAcceptLink(this.#acceptLink);
  }

  /** Which form of challenge is in use, and why. */
  get challengeNote(): string {
    return this.#force.note;
  }

  get policy(): Policy {
    return this.#force.protection.policy;
  }

  /** The mode it runs in. */
  get mode(): XdpMode {
    return this.#link.mode!;
  }

  /** Why it does not run in native mode, where `auto` could not. */
  get fallback(): string | undefined {
    return this.#link.fallback;
  }

  /** Instructions that were loaded. */
  get programSize(): number {
    return this.#force.program.size;
  }

  /** False once the interface is gone; the protection went with it. */
  get attached(): boolean {
    return this.#link.info.interfaceIndex !== 0;
  }

  /** Mean nanoseconds a frame, while the kernel keeps run statistics; undefined otherwise. */
  get nanosecondsPerFrame(): number | undefined {
    const { runCount, runNanoseconds } = this.#force.program.info;
    return runCount === 0n ? undefined : Number(runNanoseconds) / Number(runCount);
  }

  stats(): Stats {
    const { maps, protection: current } = this.#force;
    const lost = maps.get(current.maps.events.lost).lookup(0) ?? [];
    return {
      ...this.#counters.read(maps, current),
      lostEvents: lost.reduce((sum, count) => sum + count, 0n),
    };
  }

  /**
   * What becomes of SYNs, from now on, within the policy's budget of events for each reason. The kernel writes events only while
   * they are read; what is not taken in time is counted in `lostEvents`. Ends when the protection does. One reader at a time.
   */
  async *events(): AsyncGenerator<SynReport, void, void> {
    const { maps, protection: current } = this.#force;
    using ring = new RingBuffer(maps.get(current.maps.events), maps.get(current.maps.events.lost));
    this.#readers.add(ring);
    const readers = (count: number): void => {
      this.#force.maps.get(current.maps.control).update(0, { readers: count });
    };
    readers(1);
    try {
      for await (const batch of ring.batches((memory, offset) => decodeValue(SynEvent, memory, offset))) {
        for (const event of batch) yield synReport(event, this.policy);
      }
    } finally {
      this.#readers.delete(ring);
      if (this.#open) readers(0);
    }
  }

  /**
   * Puts another policy into force, in one step, while frames keep coming. The new program is tested in the kernel first;
   * counters, verified sources and the meters whose shape stays are kept. On any failure nothing changes.
   */
  update(input: PolicyInput): void {
    const policy = resolvePolicy(input);
    if (sameButLists(policy, this.policy) && this.#listsFit(policy)) {
      this.#force.protection = { ...this.#force.protection, policy };
      return;
    }
    const before = this.#force;
    const next = new Force(this.interface, policy, before.maps.find);
    this.#force = next;
    try {
      this.#sysctls.settle(policy, next.protection.challenger);
      this.#linkAccept();
      this.#link.update(next.program);
    } catch (error) {
      this.#force = before;
      this.#linkAccept();
      this.#sysctls.settle(this.policy, before.protection.challenger);
      next[Symbol.dispose]();
      throw error;
    }
    this.#counters.retire(before.maps, before.protection, next.protection);
    before[Symbol.dispose]();
    this.#pins?.keepMaps(next.maps);
  }

  /** Forgets who proved its address; everybody who is challenged has to prove it again. */
  forgetVerified(): void {
    using mapping = this.#force.maps.get(this.#force.protection.maps.verified).mmap();
    new Uint8Array(mapping.memory).fill(0);
  }

  /** Changes the lists in place where their maps have room. */
  #listsFit(policy: Policy): boolean {
    const lists = readLists(policy);
    const { lists: specs } = this.#force.protection.maps;
    const needed = listCapacity(lists);
    if (needed.middle > specs.middle.maxEntries || needed.leaf > specs.leaf.maxEntries) return false;
    if (needed.networks6 > specs.trie.maxEntries) return false;
    this.#force.lists.replace(lists);
    return true;
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    clearInterval(this.#rotation);
    for (const ring of this.#readers) ring[Symbol.dispose]();
    this.#pins?.remove();
    this.#link[Symbol.dispose]();
    this.#acceptLink?.[Symbol.dispose]();
    this.#sysctls[Symbol.dispose]();
    this.#force[Symbol.dispose]();
  }
}

function sameButLists(a: Policy, b: Policy): boolean {
  const rest = ({ lists: _lists, sanity, ...policy }: Policy): string =>
    JSON.stringify({ ...policy, sanity: [...sanity] }, (_key, value: unknown) =>
      typeof value === 'bigint' ? String(value) : value,
    );
  return rest(a) === rest(b);
}

/**
 * Protects an interface of this network namespace from SYN floods. Dispose of the result, or end the process, to stop.
 * @throws PolicyError for a policy that makes no sense, SyscallError where the interface refuses.
 */
export function protect(
  interfaceName: string,
  policy: PolicyInput = {},
  options: ProtectOptions = {},
): ProtectedInterface {
  return new ProtectedInterface(interfaceName, resolvePolicy(policy), options);
}
