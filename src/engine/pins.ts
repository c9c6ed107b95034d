/**
 * What keeps a protection in force when its process ends without taking it down:
 *
 *     ROOT/eth0/1/   link, accept_link, state and every map of a generation: a set
 *     ROOT/eth0/next/   a set that is being made
 *
 * A set is made whole as `next` and then renamed to the next number, so a crash at any moment leaves the old set or the new one; the
 * highest number is in force. The BPF file system takes no dots in names: they are written %2e.
 */
import { lstatSync, mkdirSync, readdirSync, renameSync, rmdirSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import {
  BpfMap,
  DslError,
  ensureBpfFileSystem,
  interfaceIndex,
  interfaceName as nameOfIndex,
  SyscallError,
  TcLink,
  unpin,
  XdpLink,
} from '../ebpf/index.ts';
import type { FindMap, KernelMaps } from './kernel-maps.ts';
import { createStateMap, PIN_VERSION, type PinnedState, readStateMap, STATE } from './pinned-state.ts';
import { interfaceKey, interfacesIn } from './pin-key.ts';
import { type PinRoot, pinRoot } from './pin-root.ts';
import type { SysctlsBefore } from './sysctls.ts';
import { attemptAll, throwFirst, type Transaction } from './transaction.ts';

/** The names of what stands beside the maps; no map is called like one of these. */
const LINK = 'link';
const ACCEPT_LINK = 'accept_link';
const NEXT = 'next';

/** The kind of file at a path: undefined if there is none. Links are not followed. */
function kindOf(path: string): 'directory' | 'other' | undefined {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found && (found.isDirectory() ? 'directory' : 'other');
}

/** A complete set of pins that an earlier process, or this one, left. */
class PinnedSet {
  readonly directory: string;
  readonly state: Partial<PinnedState>;

  constructor(directory: string) {
    this.directory = directory;
    this.state = (kindOf(`${directory}/${STATE}`) && readStateMap(`${directory}/${STATE}`)) || {};
  }

  /** The link, if it is there and so is its interface. */
  openLink(): XdpLink | undefined {
    return openLive(`${this.directory}/${LINK}`, (path) => XdpLink.openPinned(path));
  }

  openAcceptLink(): TcLink | undefined {
    return openLive(`${this.directory}/${ACCEPT_LINK}`, (path) => TcLink.openPinned(path));
  }

  /** Finds maps where their shape still fits. */
  readonly find: FindMap = (spec) => {
    const path = `${this.directory}/${spec.name}`;
    if (!kindOf(path)) return undefined;
    try {
      return BpfMap.openPinned(path, spec);
    } catch (error) {
      if (error instanceof DslError) return undefined; // of another shape
      throw error;
    }
  };

  /**
   * Unpins the objects that the state names and, once they are gone, the state. Foreign files stay, and the directory with them.
   * @throws the first error; the rest is still removed.
   */
  remove(): void {
    const named = [LINK, ACCEPT_LINK, ...(this.state.pins ?? readdirSync(this.directory))];
    const names = [...new Set(named.filter((one) => one === basename(one) && one !== STATE))];
    throwFirst(attemptAll(names.map((name) => () => unpinIfThere(`${this.directory}/${name}`))));
    unpinIfThere(`${this.directory}/${STATE}`);
    rmdirSync(this.directory);
  }

  /** Takes the links off their interface at once. */
  detachLinks(): void {
    detachLinksIn(this.directory);
  }
}

/** Why a set cannot be taken over. A set without its state is none of ours, or no longer whole: what its maps mean is not known. */
function versionProblem({ state: { version } }: PinnedSet): string | undefined {
  if (version === PIN_VERSION) return undefined;
  if (version === undefined) return `their \`${STATE}\` is missing or cannot be read`;
  return `their version is ${String(version)}, this Seawall knows ${String(PIN_VERSION)}`;
}

/** Why a set is not that of an interface: a name goes from one interface to another, and a link stays where it is. */
function ownerProblem(set: PinnedSet, interfaceName: string): string | undefined {
  const own = interfaceIndex(interfaceName);
  for (const open of [() => set.openLink(), () => set.openAcceptLink()]) {
    using link = open();
    if (!link || link.interfaceIndex === own) continue;
    const { interfaceIndex: other } = link;
    return `they protect another interface, which is called ${nameOfIndex(other) ?? `number ${String(other)}`} now`;
  }
  return undefined;
}

function unpinIfThere(path: string): void {
  if (kindOf(path) === 'other') unpin(path);
}

/** A pinned link whose interface is there. */
function openLive<L extends XdpLink | TcLink>(path: string, open: (path: string) => L): L | undefined {
  if (!kindOf(path)) return undefined;
  const link = open(path);
  try {
    if (link.interfaceIndex !== 0) return link;
  } catch (error) {
    link[Symbol.dispose]();
    throw error;
  }
  link[Symbol.dispose]();
  return undefined;
}

/** A link that is only unpinned goes after a grace period of the kernel, and not while a process holds it. */
function detachLinksIn(directory: string): void {
  throwFirst(
    attemptAll([
      () => {
        using link = openLive(`${directory}/${LINK}`, (path) => XdpLink.openPinned(path));
        link?.detach();
      },
      () => {
        using link = openLive(`${directory}/${ACCEPT_LINK}`, (path) => TcLink.openPinned(path));
        link?.detach();
      },
    ]),
  );
}

/** A set that is being made; it counts once it is committed. */
export interface StagedPins {
  pinLink(link: XdpLink): void;
  pinAcceptLink(link: TcLink): void;
  /** Puts this set in the place of the one before, which is removed afterwards. */
  commit(): void;
}

/** The pins of an interface. */
export class Pins {
  readonly directory: string;
  readonly #interface: string;
  readonly #root: PinRoot;

  constructor(interfaceName: string) {
    this.#interface = interfaceName;
    this.#root = pinRoot();
    this.directory = `${this.#root.path}/${interfaceKey(interfaceName)}`;
  }

  /** False where everything pinned goes with the processes of this mount namespace. */
  get lasting(): boolean {
    return this.#root.lasting;
  }

  get exist(): boolean {
    return kindOf(this.directory) !== undefined;
  }

  /** The set in force. @throws SyscallError for one that another version made, or that does not say which. */
  open(): PinnedSet | undefined {
    if (!this.exist) return undefined;
    this.#check();
    // An end that could not remove its directory leaves an empty one.
    const set = this.#sets().find(({ directory }) => readdirSync(directory).length > 0);
    const problem = this.#formerPins().includes(LINK)
      ? 'Seawall 0.2 made them'
      : set && (versionProblem(set) ?? ownerProblem(set, this.#interface));
    if (problem === undefined) return set;
    throw new SyscallError(
      'protect',
      'EEXIST',
      `take over the pins of ${this.#interface}: ${problem}; take the protection down with \`seawall detach -i ${this.#interface}\`, or use the Seawall that pinned it`,
    );
  }

  /** The former sysctls, for taking down the pins of a killed process. */
  sysctls(): SysctlsBefore {
    return Object.assign({}, ...this.#all().map(({ state }) => state.sysctls ?? {})) as SysctlsBefore;
  }

  /** What other protected interfaces of this network namespace know of the time before they set sysctls: they need them as they are. */
  sysctlsOfOthers(): SysctlsBefore[] {
    if (kindOf(dirname(this.directory)) !== 'directory') return [];
    const others = interfacesIn(dirname(this.directory)).filter((name) => name !== this.#interface);
    return others.flatMap((name) => sysctlsIn(`${dirname(this.directory)}/${interfaceKey(name)}`));
  }

  /** Begins a set with these maps and this state. */
  stage(transaction: Transaction, maps: KernelMaps, state: Omit<PinnedState, 'version' | 'pins'>): StagedPins {
    ensureDirectories(transaction, this.directory);
    this.#check();
    if (kindOf(`${this.directory}/${NEXT}`)) new PinnedSet(`${this.directory}/${NEXT}`).remove();
    const old = this.#sets();
    const numbers = old.map(({ directory }) => Number(basename(directory)));
    let directory = `${this.directory}/${NEXT}`;
    transaction.step(
      () => {
        mkdirSync(directory, { mode: 0o700 });
      },
      () => {
        new PinnedSet(directory).remove();
      },
    );
    const pins = maps.all.map(({ spec }) => spec.name);
    using map = createStateMap({ version: PIN_VERSION, pins, ...state });
    map.pin(`${directory}/${STATE}`);
    for (const one of maps.all) one.pin(`${directory}/${one.spec.name}`);
    return {
      pinLink: (link) => {
        link.pin(`${directory}/${LINK}`);
      },
      pinAcceptLink: (link) => {
        link.pin(`${directory}/${ACCEPT_LINK}`);
      },
      commit: () => {
        const complete = `${this.directory}/${String(Math.max(0, ...numbers) + 1)}`;
        renameSync(directory, complete);
        directory = complete;
        for (const set of old) {
          transaction.afterwards(() => {
            set.remove();
          });
        }
      },
    };
  }

  /** Takes the protection off the interface and removes everything. Nothing is followed, and nothing that is not ours goes. */
  remove(): void {
    if (!this.exist) return;
    this.#check();
    const sets = this.#all();
    const former = this.#formerPins();
    throwFirst(
      attemptAll([
        ...(former.length > 0 ? [() => detachLinksIn(this.directory)] : []),
        ...sets.map((set) => () => {
          set.detachLinks();
        }),
        ...former.map((name) => () => {
          unpin(`${this.directory}/${name}`);
        }),
        ...sets.map((set) => () => {
          set.remove();
        }),
        () => {
          rmdirSync(this.directory);
        },
      ]),
    );
  }

  /** Takes the accepting half out of the pins. */
  unpinAcceptLink(): void {
    unpinIfThere(`${this.#sets()[0]?.directory ?? this.directory}/${ACCEPT_LINK}`);
  }

  #sets(): PinnedSet[] {
    return completeSets(this.directory);
  }

  /** The complete sets, and one that a crash left unfinished. */
  #all(): PinnedSet[] {
    return allSets(this.directory);
  }

  /** What Seawall 0.2 pinned: it had no sets. */
  #formerPins(): string[] {
    const names = readdirSync(this.directory);
    return names.includes(LINK) ? names.filter((name) => kindOf(`${this.directory}/${name}`) === 'other') : [];
  }

  /** @throws SyscallError if the directory belongs to another user, or is a link. */
  #check(): void {
    for (const path of [dirname(this.directory), this.directory]) {
      const found = lstatSync(path);
      if (found.isDirectory() && found.uid === process.geteuid?.()) continue;
      throw new SyscallError(
        'lstat',
        'EPERM',
        `use pins of ${this.#interface}: ${path} is not a directory of this user; remove it`,
      );
    }
  }
}

/** Complete sets, the one in force first. */
function completeSets(directory: string): PinnedSet[] {
  return readdirSync(directory)
    .filter((name) => /^\d{1,15}$/.test(name) && kindOf(`${directory}/${name}`) === 'directory')
    .toSorted((a, b) => Number(b) - Number(a))
    .map((name) => new PinnedSet(`${directory}/${name}`));
}

/** Complete sets and one that is being made, or that a crash left. */
function allSets(directory: string): PinnedSet[] {
  if (kindOf(directory) !== 'directory') return [];
  const unfinished = `${directory}/${NEXT}`;
  return [...completeSets(directory), ...(kindOf(unfinished) === 'directory' ? [new PinnedSet(unfinished)] : [])];
}

/** What the pins of an interface say of sysctls, while it is protected or about to be. */
function sysctlsIn(directory: string): SysctlsBefore[] {
  try {
    return allSets(directory).flatMap((set) => {
      if (!set.state.sysctls || Object.keys(set.state.sysctls).length === 0) return [];
      using link = set.openLink();
      return link || basename(set.directory) === NEXT ? [set.state.sysctls] : [];
    });
  } catch {
    return []; // removed meanwhile, or not ours to read
  }
}

/** Makes a directory of the BPF file system and those above it, as steps of a change. */
function ensureDirectories(transaction: Transaction, directory: string): void {
  if (!directory.startsWith('/proc/')) ensureBpfFileSystem();
  for (const path of [dirname(directory), directory]) {
    if (kindOf(path)) continue;
    transaction.step(
      () => {
        mkdirSync(path, { mode: 0o700 });
      },
      () => {
        rmdirSync(path);
      },
    );
  }
}
