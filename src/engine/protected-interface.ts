/** An interface under protection. Over 300 lines for one reason: a change touches every resource of the interface, and one class holds them all. */
import {
  interfaceName as nameOfIndex,
  type MapSpec,
  readInterface,
  type TcLink,
  XdpLink,
  type XdpMode,
} from '../ebpf/index.ts';
import { COOKIE_LIFE } from '../dataplane/cookie/cookie.ts';
import { interfaceNameProblem } from '../net/interface-name.ts';
import { type Policy, resolvePolicy } from '../policy/policy.ts';
import { PolicyError } from '../policy/policy-error.ts';
import type { PolicyInput } from '../policy/schema.ts';
import { formatPolicy } from '../policy/toml.ts';
import { sameButLists } from '../policy/same-but-lists.ts';
import { attach, linkAccept, nameOf, swapProgram, takeOff } from './attachment.ts';
import { CompileThread } from './compile-ahead.ts';
import { TrackingWatch } from './connections.ts';
import { rotatedKeys, ROTATE_EVERY_MS } from './cookie-keys.ts';
import { Counters, type Totals } from './counters.ts';
import { EventReader, Source } from './event-reader.ts';
import { Generation, planGeneration } from './generation.ts';
import type { FindMap } from './kernel-maps.ts';
import { nativeProblem } from './link.ts';
import { HostAddresses } from './host-addresses.ts';
import { readLists } from './lists/lists.ts';
import type { PinnedState } from './pinned-state.ts';
import { networkNamespace } from './pin-key.ts';
import { Pins } from './pins.ts';
import { carryServices, findFor } from './service-state.ts';
import type { SynReport } from './syn-report.ts';
import { applySysctls, planSysctls, restoreSysctls, type SysctlsBefore } from './sysctls.ts';
import { attemptAll, throwFirst, transact, type Transaction } from './transaction.ts';

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

const MODES: readonly (XdpMode | 'auto')[] = ['auto', 'native', 'generic'];

/** How long the accepting half stays after it was needed last: sent cookies may still come back. In milliseconds. */
const LINGER_MS = Number(COOKIE_LIFE / 1_000_000n) + 1000;

/** How often this host's addresses are read, in milliseconds. */
const LOOK_EVERY_MS = 1000;

/** The state before a change. */
interface Before {
  readonly find: FindMap | undefined;
  readonly services: readonly string[];
  readonly tested: PinnedState['tested'];
}

/** The links of an interface, where they are there already. */
interface Links {
  readonly link: XdpLink | undefined;
  readonly accept: TcLink | undefined;
}

/** The interfaces that this process protects. */
const protectedHere = new Set<ProtectedInterface>();

/** An interface under protection, until it is disposed of. */
export class ProtectedInterface implements Disposable {
  readonly interface: string;
  readonly #namespace = networkNamespace();
  readonly #pins: Pins | undefined;
  readonly #mode: XdpMode | 'auto';
  #generation!: Generation;
  #link!: XdpLink;
  #acceptLink: TcLink | undefined;
  /** Why answers would not arrive in native mode. */
  readonly #nativeProblem: string | undefined;
  #sysctls: SysctlsBefore = {};
  readonly #counters = new Counters();
  #reader: EventReader | undefined;
  #linger: NodeJS.Timeout | undefined;
  readonly #host: HostAddresses;
  readonly #watch: NodeJS.Timeout;
  readonly #rotation: NodeJS.Timeout;
  readonly #tracking: TrackingWatch;
  #open = true;
  readonly #compileThread = new CompileThread();

  constructor(interfaceName: string, policy: Policy, { mode = 'auto', pin = false }: ProtectOptions) {
    const problem = interfaceNameProblem(interfaceName);
    if (problem !== undefined) throw new PolicyError('interface', problem);
    if (!MODES.includes(mode))
      throw new PolicyError('mode', `${JSON.stringify(mode)} is no mode; use ${MODES.join(', ')}`);
    this.interface = interfaceName;
    this.#nativeProblem = nativeProblem(interfaceName);
    this.#mode = mode;
    this.#pins = pin ? new Pins(interfaceName) : undefined;
    this.#host = new HostAddresses(interfaceName);
    try {
      this.#begin(policy);
    } catch (error) {
      this.#host[Symbol.dispose]();
      throw error;
    }
    this.#rotation = setInterval(() => {
      this.rotateCookieKeys();
    }, ROTATE_EVERY_MS).unref();
    this.#watch = setInterval(() => {
      this.refreshAddresses();
    }, LOOK_EVERY_MS).unref();
    this.#tracking = new TrackingWatch((until) => {
      const { maps, protection } = this.#generation;
      maps.get(protection.maps.untracked).update(0, { until });
    });
    protectedHere.add(this);
  }

  /** Puts the first policy into force; what is pinned is taken over. */
  #begin(policy: Policy): void {
    const set = this.#pins?.open();
    this.#sysctls = set?.state.sysctls ?? {};
    this.#change(
      policy,
      { find: set?.find, services: set?.state.services ?? [], tested: set?.state.tested ?? {} },
      (transaction) => {
        const accept = set?.openAcceptLink();
        if (accept)
          transaction.step(
            () => accept,
            () => accept[Symbol.dispose](),
          );
        const link = set?.openLink();
        if (link)
          transaction.step(
            () => link,
            () => link[Symbol.dispose](),
          );
        return { link, accept };
      },
    );
  }

  /**
   * Makes the next generation beside the one in force, and commits it. Every step that can fail comes before the swap of the program, and is undone
   * on failure.
   */
  #change(policy: Policy, before: Before, open: (transaction: Transaction) => Links): void {
    transact(
      (transaction) => {
        const old = this.#generation as Generation | undefined;
        transaction.afterwards(() => old?.[Symbol.dispose]());
        const links = open(transaction);
        const name = nameOf(links.link) ?? this.interface;
        const plan = planGeneration(name, policy);
        const fresh = new Map<number, number>();
        const count = (counter: number): void => {
          fresh.set(counter, (fresh.get(counter) ?? 0) + 1);
          this.#counters.countTested(counter);
        };
        const names = policy.services.map(({ name }) => name);
        const find = before.find && findFor(before.find, before.services, plan.protection.maps, names);
        const carried = isThere(find, plan.protection.maps.counters);
        if (carried && !old) this.#counters.adopt(before.tested);
        // New counters go with a change that fails; those that stay were raised all the same.
        if (!carried)
          transaction.step(
            () => undefined,
            () => {
              for (const [counter, frames] of fresh) this.#counters.countTested(counter, -frames);
            },
          );
        const next = transaction.own(() => Generation.make(plan, find, count));
        this.#host.write(next.maps, next.protection.maps);
        const tested = carried ? this.#counters.tested : Object.fromEntries(fresh);
        const sysctls = planSysctls(this.#sysctls, policy, next.protection.forms, this.#others);
        const staged = this.#pins?.stage(transaction, next.maps, this.#state(next, sysctls.before, tested));
        applySysctls(transaction, sysctls);
        const source = this.#reader && this.#sourceOf(transaction, next);
        next.maps.get(next.protection.maps.control).update(0, { readers: this.#reader ? 1 : 0 });
        // The half that accepts is there before the half that challenges.
        const accept = linkAccept(transaction, next.accept, name, links.accept);
        if (accept) staged?.pinAcceptLink(accept);
        if (find) carryServices(find, before.services, next.maps, next.protection.maps, names);
        const swap = (): XdpLink => {
          if (!links.link)
            return attach(transaction, () => XdpLink.attach(next.program, name, { mode: this.#attachMode }));
          swapProgram(transaction, links.link, next.program);
          return links.link;
        };
        let link = links.link;
        if (link) staged?.pinLink(link);
        else {
          link = swap();
          staged?.pinLink(link);
        }
        staged?.commit();
        if (links.link) swap();
        return { next, link, accept, source, before: sysctls.before, retired: old && !carried ? fresh : undefined };
      },
      (made) => {
        if (made.retired) this.#counters.retire(this.#generation.maps, this.#generation.protection, made.retired);
        this.#generation = made.next;
        this.#link = made.link;
        this.#acceptLink = made.accept;
        this.#sysctls = made.before;
        this.#reader?.follow(made.next.policy, made.source);
        this.#settleLinger();
      },
    );
  }

  get #attachMode(): XdpMode | 'auto' {
    return this.#mode === 'auto' && this.#nativeProblem !== undefined ? 'generic' : this.#mode;
  }

  /** What other interfaces of this network namespace know of sysctls: those that are pinned, and those of this process. */
  readonly #others = (): SysctlsBefore[] => [
    ...(this.#pins?.sysctlsOfOthers() ?? []),
    ...[...protectedHere]
      .filter((one) => one !== this && one.#namespace === this.#namespace)
      .map((one) => one.#sysctls),
  ];

  #state(next: Generation, sysctls: SysctlsBefore, tested: PinnedState['tested']) {
    return {
      policy: formatPolicy(next.policy),
      services: next.policy.services.map(({ name }) => name),
      sysctls,
      tested,
    };
  }

  /** The ring of the next generation, where it is another one. */
  #sourceOf(transaction: Transaction, { maps, protection }: Generation): Source | undefined {
    if (maps.get(protection.maps.events).info.id === this.#reader?.id) return undefined;
    return transaction.own(() => Source.open(maps, protection.maps, protection.policy));
  }

  #settleLinger(): void {
    clearTimeout(this.#linger);
    this.#linger = undefined;
    if (!this.#acceptLink || this.#generation.accept) return;
    this.#linger = setTimeout(() => {
      const link = this.#acceptLink;
      this.#acceptLink = undefined;
      for (const failure of attemptAll([() => this.#pins?.unpinAcceptLink(), () => link?.[Symbol.dispose]()]))
        process.emitWarning(String(failure));
    }, LINGER_MS).unref();
  }

  /** Gives the slot after the next a new key for cookies; done by itself once a slot, half a minute. */
  rotateCookieKeys(): void {
    const map = this.#generation.maps.get(this.#generation.protection.maps.keys);
    // The program's clock is the same one.
    map.update(0, rotatedKeys(map.lookup(0)!, process.hrtime.bigint()));
  }

  /** Reads anew which addresses are this host's; done by itself once a second. A failure leaves what was read before. */
  refreshAddresses(): void {
    try {
      this.#host.write(this.#generation.maps, this.#generation.protection.maps);
    } catch (error) {
      process.emitWarning(String(error));
    }
  }

  /** Which form of challenge is in use, and why. */
  get challengeNote(): string {
    return this.#generation.note;
  }

  get policy(): Policy {
    return this.#generation.policy;
  }

  /** The mode it runs in. */
  get mode(): XdpMode {
    return this.#link.mode!;
  }

  /** Why it does not run in native mode, where `auto` could not, or answers would be lost there. */
  get fallback(): string | undefined {
    return this.#link.fallback ?? (this.#mode === 'auto' && this.mode === 'generic' ? this.#nativeProblem : undefined);
  }

  /** Why answers do not arrive in the mode that was asked for. */
  get lostAnswers(): string | undefined {
    return this.mode === 'native' ? this.#nativeProblem : undefined;
  }

  /** Instructions that were loaded. */
  get programSize(): number {
    return this.#generation.program.size;
  }

  /** False once the interface is gone; the protection went with it. */
  get attached(): boolean {
    return this.#link.info.interfaceIndex !== 0;
  }

  /** Whether the pins outlive this process; undefined without pins. */
  get outlivesProcess(): boolean | undefined {
    return this.#pins?.lasting;
  }

  /** What the interface is called here by now; undefined where it was moved to another network namespace, or is gone. */
  get currentName(): string | undefined {
    const { interfaceIndex: index, programId } = this.#link.info;
    const name = index === 0 ? undefined : nameOfIndex(index);
    if (name === undefined) return undefined;
    return Object.values(readInterface(index).xdp).includes(programId) ? name : undefined;
  }

  /** Mean nanoseconds a frame, while the kernel keeps run statistics; undefined otherwise. */
  get nanosecondsPerFrame(): number | undefined {
    const { runCount, runNanoseconds } = this.#generation.program.info;
    return runCount === 0n ? undefined : Number(runNanoseconds) / Number(runCount);
  }

  stats(): Stats {
    const { maps, protection } = this.#generation;
    const lost = maps.get(protection.maps.events.lost).lookup(0) ?? [];
    return {
      ...this.#counters.read(maps, protection),
      lostEvents: lost.reduce((sum, count) => sum + count, 0n),
    };
  }

  /**
   * Events for SYNs from now on, within the policy's budget for each reason, across changes of the policy. The kernel writes events only while they
   * are read; events that are not read in time are counted in `lostEvents`. Ends with the protection.
   * @throws Error if there is a reader already.
   */
  async *events(): AsyncGenerator<SynReport, void, void> {
    if (this.#reader) throw new Error(`read events of ${this.interface}: somebody reads them already`);
    const { maps, protection } = this.#generation;
    using reader = new EventReader(Source.open(maps, protection.maps, protection.policy));
    this.#reader = reader;
    this.#setReaders(1);
    try {
      yield* reader.reports();
    } finally {
      this.#reader = undefined;
      if (this.#open) this.#setReaders(0);
    }
  }

  #setReaders(readers: number): void {
    this.#generation.maps.get(this.#generation.protection.maps.control).update(0, { readers });
  }

  /**
   * Puts another policy into force, in one step, while frames keep coming. The new program is tested in the kernel first. Counters, verified sources,
   * the state of services by their names, and meters of the same shape are kept. On failure nothing changes.
   */
  update(input: PolicyInput): void {
    const policy = resolvePolicy(input);
    if (sameButLists(policy, this.policy) && this.#changeLists(policy)) return;
    const { maps } = this.#generation;
    this.#change(
      policy,
      { find: maps.find, services: this.policy.services.map(({ name }) => name), tested: {} },
      () => ({
        link: this.#link,
        accept: this.#acceptLink,
      }),
    );
  }

  /**
   * Compiles another policy in a thread of its own, which takes longer than `update` alone the first time. An `update` with the same policy that
   * follows only loads the programs, and blocks the event loop only for that.
   * @throws PolicyError.
   */
  async prepare(input: PolicyInput): Promise<void> {
    const policy = resolvePolicy(input);
    if (!sameButLists(policy, this.policy))
      await this.#compileThread.compile(nameOf(this.#link) ?? this.interface, policy);
  }

  /** Forgets the verified sources; a challenged source has to prove its address again. */
  forgetVerified(): void {
    using mapping = this.#generation.maps.get(this.#generation.protection.maps.verified).mmap();
    new Uint8Array(mapping.memory).fill(0);
  }

  /** Changes the lists in place where their maps have room; whether they have. */
  #changeLists(policy: Policy): boolean {
    const generation = this.#generation;
    const lists = readLists(policy);
    if (!generation.lists.fits(lists)) return false;
    transact((transaction) => {
      const before = generation.protection;
      transaction.step(
        () => {
          generation.protection = { ...before, policy };
        },
        () => {
          generation.protection = before;
        },
      );
      const staged = this.#pins?.stage(
        transaction,
        generation.maps,
        this.#state(generation, this.#sysctls, this.#counters.tested),
      );
      staged?.pinLink(this.#link);
      if (this.#acceptLink) staged?.pinAcceptLink(this.#acceptLink);
      staged?.commit();
      generation.lists.replace(lists);
    });
    return true;
  }

  /** Ends the protection. @throws the first of what could not be taken down; the rest is all the same. */
  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    this.#compileThread[Symbol.dispose]();
    clearInterval(this.#rotation);
    clearInterval(this.#watch);
    this.#host[Symbol.dispose]();
    this.#tracking[Symbol.dispose]();
    clearTimeout(this.#linger);
    protectedHere.delete(this);
    throwFirst(
      attemptAll([
        () => this.#reader?.[Symbol.dispose](),
        () => {
          takeOff(this.#link);
        },
        () => {
          if (this.#acceptLink) takeOff(this.#acceptLink);
        },
        () => this.#pins?.remove(),
        () => {
          restoreSysctls(this.#sysctls, this.#others);
        },
        () => {
          this.#generation[Symbol.dispose]();
        },
      ]),
    );
  }
}

/** Whether a map is found. */
function isThere(find: FindMap | undefined, spec: MapSpec): boolean {
  using found = find?.(spec);
  return found !== undefined;
}
