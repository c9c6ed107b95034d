/** One set of pins in a directory: links, state and maps of a generation (`pins.ts`). */
import { lstatSync, readdirSync, rmdirSync } from 'node:fs';
import { basename } from 'node:path';
import {
  BpfMap,
  DslError,
  interfaceIndex,
  interfaceName as nameOfIndex,
  TcLink,
  unpin,
  XdpLink,
} from '../ebpf/index.ts';
import type { FindMap } from './kernel-maps.ts';
import { PIN_VERSION, type PinnedState, readStateMap, STATE } from './pinned-state.ts';
import { attemptAll, throwFirst } from './transaction.ts';

/** The names of what stands beside the maps; no map is called like one of these. */
export const LINK = 'link';
export const ACCEPT_LINK = 'accept_link';
export const NEXT = 'next';

/** The kind of file at a path: undefined if there is none. Links are not followed. */
export function kindOf(path: string): 'directory' | 'other' | undefined {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found && (found.isDirectory() ? 'directory' : 'other');
}

/** A complete set of pins that an earlier process, or this one, left. */
export class PinnedSet {
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
export function versionProblem({ state: { version } }: PinnedSet): string | undefined {
  if (version === PIN_VERSION) return undefined;
  if (version === undefined) return `their \`${STATE}\` is missing or cannot be read`;
  return `their version is ${String(version)}, this Seawall knows ${String(PIN_VERSION)}`;
}

/** Why a set is not that of an interface: a name goes from one interface to another, and a link stays where it is. */
export function ownerProblem(set: PinnedSet, interfaceName: string): string | undefined {
  const own = interfaceIndex(interfaceName);
  for (const open of [() => set.openLink(), () => set.openAcceptLink()]) {
    using link = open();
    if (!link || link.interfaceIndex === own) continue;
    const { interfaceIndex: other } = link;
    return `they protect another interface, which is called ${nameOfIndex(other) ?? `number ${String(other)}`} now`;
  }
  return undefined;
}

export function unpinIfThere(path: string): void {
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
export function detachLinksIn(directory: string): void {
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

/** Complete sets, the one in force first. */
export function completeSets(directory: string): PinnedSet[] {
  return readdirSync(directory)
    .filter((name) => /^\d{1,15}$/.test(name) && kindOf(`${directory}/${name}`) === 'directory')
    .toSorted((a, b) => Number(b) - Number(a))
    .map((name) => new PinnedSet(`${directory}/${name}`));
}

/** Complete sets and one that is being made, or that a crash left. */
export function allSets(directory: string): PinnedSet[] {
  if (kindOf(directory) !== 'directory') return [];
  const unfinished = `${directory}/${NEXT}`;
  return [...completeSets(directory), ...(kindOf(unfinished) === 'directory' ? [new PinnedSet(unfinished)] : [])];
}
