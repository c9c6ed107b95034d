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
import { ensureBpfFileSystem, SyscallError, type TcLink, unpin, type XdpLink } from '../ebpf/index.ts';
import type { KernelMaps } from './kernel-maps.ts';
import {
  ACCEPT_LINK,
  allSets,
  completeSets,
  detachLinksIn,
  kindOf,
  LINK,
  NEXT,
  ownerProblem,
  PinnedSet,
  unpinIfThere,
  versionProblem,
} from './pinned-set.ts';
import { createStateMap, PIN_VERSION, type PinnedState, STATE } from './pinned-state.ts';
import { interfaceKey, interfacesIn } from './pin-key.ts';
import { type PinRoot, pinRoot } from './pin-root.ts';
import type { SysctlsBefore } from './sysctls.ts';
import { attemptAll, throwFirst, type Transaction } from './transaction.ts';

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
