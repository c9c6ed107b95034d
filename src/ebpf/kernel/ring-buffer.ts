/**
 * Reads a ring buffer in place, in the memory shared with the kernel (Documentation/bpf/ringbuf.rst).
 *
 *     page 0             consumer position, ours to write
 *     page 1             producer position, the kernel's
 *     pages 2 and on     the data, mapped twice in a row, so that no record is ever split
 *
 * A record is a header of 8 bytes (length in the low 30 bits, then DISCARD, then BUSY) and its data, padded to 8. The kernel
 * clears BUSY with release semantics when a record is complete, which `Atomics.load` pairs with. Nothing is allocated per
 * record: positions are read and written once a batch.
 */
import { SyscallError } from '../errors.ts';
import { Mapping, pageSize, Protection, ReadinessWatch } from '../sys/libc.ts';
import type { Type, u32, u64 } from '../btf/type.ts';
import type { BpfMap } from './bpf-map.ts';

const HEADER = 8;
const BUSY = 1 << 31;
const DISCARD = 1 << 30;

/**
 * Called with each record in place, which is valid until it returns, and with its `position` in the ring's history. Returning false stops the batch
 * before this record.
 */
export type RecordHandler = (memory: Buffer, offset: number, length: number, position: number) => boolean | void;

type RingMap = BpfMap<Type, Type, 'ring buffer'>;
type LostMap = BpfMap<typeof u32, typeof u64, 'per-CPU array'>;

export class RingBuffer implements Disposable {
  readonly #map: RingMap;
  readonly #lost: LostMap | undefined;
  readonly #consumerPage: Mapping;
  readonly #dataPages: Mapping;
  readonly #consumer: BigInt64Array;
  readonly #producer: BigInt64Array;
  readonly #headers: Int32Array;
  readonly #data: Buffer;
  readonly #mask: number;
  #watch: ReadinessWatch | undefined;
  #closed = false;
  #finished = false;

  /** `lost` is the companion map that `ring.lost` names; without it `lost` is 0. */
  constructor(map: RingMap, lost?: LostMap) {
    this.#map = map;
    this.#lost = lost;
    const size = map.spec.maxEntries;
    const page = pageSize();
    this.#mask = size - 1;
    this.#consumerPage = mapPages(map, page, 0, Protection.READ | Protection.WRITE);
    try {
      this.#dataPages = mapPages(map, page + 2 * size, page, Protection.READ);
    } catch (error) {
      this.#consumerPage[Symbol.dispose]();
      throw error;
    }
    this.#consumer = new BigInt64Array(this.#consumerPage.memory, 0, 1);
    this.#producer = new BigInt64Array(this.#dataPages.memory, 0, 1);
    this.#headers = new Int32Array(this.#dataPages.memory, page);
    this.#data = Buffer.from(this.#dataPages.memory, page);
  }

  /** How many records found no room so far. */
  get lost(): bigint {
    return this.#lost?.lookup(0)?.reduce((sum, count) => sum + count, 0n) ?? 0n;
  }

  /** Bytes that were written to the ring since it was made, exact up to 2^53: the place of the record that comes next. */
  get position(): number {
    this.#checkOpen();
    return Number(Atomics.load(this.#producer, 0));
  }

  /** Bytes that wait to be read. */
  get pending(): number {
    this.#checkOpen();
    return Number(Atomics.load(this.#producer, 0) - Atomics.load(this.#consumer, 0));
  }

  /**
   * Hands over the unread records, at most `limit`, and gives their room back to the kernel. Returns how many. A handler may close
   * the ring, which ends the batch.
   */
  drain(handle: RecordHandler, limit = Infinity): number {
    this.#checkOpen();
    let position = Atomics.load(this.#consumer, 0);
    const first = Number(position);
    const start = Number(position & BigInt(this.#mask));
    const available = Number(Atomics.load(this.#producer, 0) - position);
    let taken = 0;
    let records = 0;
    while (taken < available && records < limit) {
      const at = (start + taken) & this.#mask;
      const header = Atomics.load(this.#headers, at >> 2);
      if ((header & BUSY) !== 0) break;
      const length = header & ~(BUSY | DISCARD);
      if ((header & DISCARD) === 0) {
        if (handle(this.#data, at + HEADER, length, first + taken) === false) break;
        records++;
        if (this.#closed) return records; // the memory is gone
      }
      taken += (length + HEADER + 7) & ~7;
    }
    position += BigInt(taken);
    Atomics.store(this.#consumer, 0, position);
    return records;
  }

  /** Calls back whenever there is something to drain; sleeps while nothing comes. One watcher at a time; undefined stops. */
  watch(onReadable: (() => void) | undefined): void {
    this.#watch?.[Symbol.dispose]();
    this.#watch = onReadable && new ReadinessWatch(this.#map.fd, onReadable);
  }

  /**
   * Batches of records, decoded by `decode`, as the consumer asks for them. Nothing is read while it does not ask: the kernel's buffer fills, and
   * records without room are counted in `lost`.
   */
  async *batches<T>(
    decode: (memory: Buffer, offset: number, length: number, position: number) => T,
    limit = 1024,
  ): AsyncGenerator<T[], void, void> {
    while (!this.#closed) {
      const batch: T[] = [];
      this.drain((memory, offset, length, position) => {
        batch.push(decode(memory, offset, length, position));
      }, limit);
      if (batch.length > 0) yield batch;
      else if (this.#finished) return;
      else await this.#readable();
    }
  }

  /** Ends `batches` after the records that are there now: nothing is written any more. */
  finish(): void {
    this.#finished = true;
    this.#wake?.();
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#wake?.();
    this.watch(undefined);
    this.#consumerPage[Symbol.dispose]();
    this.#dataPages[Symbol.dispose]();
  }

  /** An access to memory that is no longer mapped would end the process. */
  #checkOpen(): void {
    if (this.#closed)
      throw new Error(
        `read ring buffer ${this.#map.spec.name}: it has been closed; stop reading before it is disposed of`,
      );
  }

  #wake: (() => void) | undefined;

  async #readable(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      this.watch(resolve);
    });
    this.#wake = undefined;
    if (!this.#closed) this.watch(undefined);
  }
}

function mapPages(map: RingMap, length: number, offset: number, protection: number): Mapping {
  const mapping = Mapping.map(map.fd, length, offset, protection);
  if (!('errno' in mapping)) return mapping;
  const why = mapping.errno === 'EPERM' ? '; another reader has it, or the process may not' : '';
  throw new SyscallError(
    'mmap',
    mapping.errno,
    `map ring buffer ${map.spec.name}: mmap failed with ${mapping.errno}${why}`,
  );
}
