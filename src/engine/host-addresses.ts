/** Keeps the maps current that say which addresses are this host's: they change while a protection runs. */
import { HostReader, type HostState, interfaceIndex } from '../ebpf/index.ts';
import type { ProtectionMaps } from '../dataplane/pipeline.ts';
import { addressKey } from '../dataplane/frame/address-key.ts';
import { MOST_LINKS, NO_LINK } from '../dataplane/state/host.ts';
import type { KernelMaps } from './kernel-maps.ts';

/** A link-layer address as the program reads it. */
const linkWord = (address: Uint8Array): bigint => Buffer.concat([address, Buffer.alloc(2)]).readBigUInt64LE();

const textOf = (state: HostState): string =>
  JSON.stringify([state.addresses, state.links].map((all) => all.map(Object.values)));

export class HostAddresses implements Disposable {
  readonly #reader: HostReader | undefined;
  #written: { readonly maps: KernelMaps; readonly text: string } | undefined;

  /** For an interface of this network namespace; of one that is not there, attaching says so. @throws SyscallError. */
  constructor(interfaceName: string) {
    const index = interfaceIndex(interfaceName);
    this.#reader = index === undefined ? undefined : new HostReader(index);
  }

  /** Writes what is so now, where that is not what was written last. @throws SyscallError. */
  write(maps: KernelMaps, { links, local }: ProtectionMaps): void {
    if (!this.#reader) return;
    const state = this.#reader.read();
    const text = textOf(state);
    if (this.#written?.maps === maps && this.#written.text === text) return;
    const words = state.links.slice(0, MOST_LINKS).map(linkWord);
    maps.get(links).update(0, {
      addresses: Array.from({ length: MOST_LINKS }, (_, at) => words[at] ?? NO_LINK),
    });
    const wanted = new Map(
      state.addresses.map(({ address, bits }) => {
        const key = addressKey({ address, bits });
        return [Object.values(key).join(), key] as const;
      }),
    );
    const trie = maps.get(local);
    const there = new Map([...trie.entries()].map(([key]) => [Object.values(key).join(), key] as const));
    for (const [name, key] of wanted) if (!there.has(name)) trie.update(key, 1);
    for (const [name, key] of there) if (!wanted.has(name)) trie.delete(key);
    this.#written = { maps, text };
  }

  [Symbol.dispose](): void {
    this.#reader?.[Symbol.dispose]();
  }
}
