import { closeSync, openSync, writeSync } from 'node:fs';
import { SyscallError } from '../ebpf/index.ts';
import { pcapngHeader, pcapngPacket } from '../net/capture.ts';
import { printable, shorten } from '../net/quote.ts';

/** A pcapng file that is being written. Each method throws SyscallError, in one line. */
export class PacketFile implements Disposable {
  readonly #path: string;
  readonly #descriptor: number;

  /** Makes the file, or empties it. */
  constructor(path: string) {
    this.#path = path;
    this.#descriptor = this.#explaining('open', () => openSync(path, 'w'));
    try {
      this.#write(pcapngHeader());
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  add(packet: Parameters<typeof pcapngPacket>[0]): void {
    this.#write(pcapngPacket(packet));
  }

  #write(bytes: Buffer): void {
    for (let at = 0; at < bytes.length;) at += this.#explaining('write', () => writeSync(this.#descriptor, bytes, at));
  }

  #explaining<T>(call: string, action: () => T): T {
    try {
      return action();
    } catch (error) {
      const { code = 'EINVAL', message } = error as NodeJS.ErrnoException;
      // Node says `EROFS: read-only file system, open '...'`.
      const reason = message.replace(/^\w+: /, '').split(', ')[0]!;
      throw new SyscallError(
        call,
        code,
        `write ${printable(shorten(this.#path, 300))}: ${printable(shorten(reason))}`,
        {
          cause: error,
        },
      );
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#descriptor);
  }
}
