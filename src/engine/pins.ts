import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { BPF_FILE_SYSTEM, BpfMap, DslError, ensureBpfFileSystem, TcLink, unpin, XdpLink } from '../ebpf/index.ts';
import type { FindMap, KernelMaps } from './kernel-maps.ts';

export const PIN_ROOT = `${BPF_FILE_SYSTEM}/seawall`;

/** The names of what stands beside the maps; no map is called like one of these. */
const LINK = 'link';
const ACCEPT_LINK = 'accept_link';

/** The number of a process's network namespace; undefined where we may not look. */
function namespaceOf(process: string): number | undefined {
  try {
    return statSync(`/proc/${process}/ns/net`).ino;
  } catch {
    return undefined;
  }
}

/** Where the program and maps of an interface are pinned: they stay when the process ends without taking them down. */
export class Pins {
  readonly directory: string;

  /** Interfaces of other network namespaces than that of process 1 carry the namespace's number. */
  constructor(interfaceName: string) {
    // Of this thread: it may have entered another one.
    const own = namespaceOf('thread-self');
    const home = namespaceOf('1');
    this.directory = `${PIN_ROOT}/${own === home ? interfaceName : `${interfaceName}@${String(own)}`}`;
  }

  get exist(): boolean {
    return existsSync(this.directory);
  }

  /** The link that an earlier process left, if its interface is still there. */
  openLink(): XdpLink | undefined {
    if (!existsSync(`${this.directory}/${LINK}`)) return undefined;
    const link = XdpLink.openPinned(`${this.directory}/${LINK}`);
    if (link.info.interfaceIndex !== 0) return link;
    link[Symbol.dispose]();
    return undefined;
  }

  openAcceptLink(): TcLink | undefined {
    const path = `${this.directory}/${ACCEPT_LINK}`;
    if (!existsSync(path)) return undefined;
    const link = TcLink.openPinned(path);
    if (link.interfaceIndex !== 0) return link;
    link[Symbol.dispose]();
    return undefined;
  }

  /** Finds maps that an earlier process left, where their shape still fits. */
  readonly find: FindMap = (spec) => {
    const path = `${this.directory}/${spec.name}`;
    if (!existsSync(path)) return undefined;
    try {
      return BpfMap.openPinned(path, spec);
    } catch (error) {
      if (error instanceof DslError) return undefined; // of another shape
      throw error;
    }
  };

  /** Pins the maps in use, and removes those that are not any more. */
  keepMaps(maps: KernelMaps): void {
    ensureBpfFileSystem();
    mkdirSync(this.directory, { recursive: true });
    const used = new Set(maps.all.map(({ spec }) => spec.name));
    for (const name of readdirSync(this.directory)) {
      if (name !== LINK && name !== ACCEPT_LINK && !used.has(name)) unpin(`${this.directory}/${name}`);
    }
    for (const map of maps.all) {
      const path = `${this.directory}/${map.spec.name}`;
      if (existsSync(path)) {
        if (maps.carried(map.spec)) continue;
        unpin(path);
      }
      map.pin(path);
    }
  }

  keepLink(link: XdpLink): void {
    const path = `${this.directory}/${LINK}`;
    if (existsSync(path)) unpin(path);
    link.pin(path);
  }

  keepAcceptLink(link: TcLink | undefined): void {
    const path = `${this.directory}/${ACCEPT_LINK}`;
    if (existsSync(path)) unpin(path);
    link?.pin(path);
  }

  /** Removes everything, which ends the protection once no process holds it. */
  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}
