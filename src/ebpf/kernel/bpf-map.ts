/** Maps in the kernel. Over 300 lines for one reason: every form of access shares the key and value layout at the bottom. */
import type { Infer, Type } from '../btf/type.ts';
import { decodeValue, encodeValue } from '../btf/type.ts';
import { BtfBuilder } from '../btf/btf.ts';
import type { MapKind } from '../dsl/map-kind.ts';
import { innerOf } from '../dsl/map-of-maps.ts';
import { UpdateFlag } from '../dsl/update-flag.ts';
import { hasOpaque } from '../dsl/opaque-fields.ts';
import { MapFlag, type MapSpec } from '../dsl/map.ts';
import { DslError, SyscallError } from '../errors.ts';
import { attr, attribute, objectName } from '../sys/attr.ts';
import {
  adopt,
  command,
  commandError,
  type CommandName,
  objectInfo,
  openById,
  openCommand,
  tryCommand,
} from '../sys/bpf.ts';
import type { Descriptor } from '../sys/descriptor.ts';
import { addressOf, Mapping, pageSize, Protection } from '../sys/libc.ts';
import { loadBtf } from './btf-object.ts';
import {
  DESCRIBED,
  elementAdvice,
  elementOf,
  type Storable,
  requireUserKind,
  type Stored,
  type UserKindsFor,
} from './map-element.ts';
import { openPinned, pinObject, possibleCpus } from './pin.ts';

/** `struct bpf_map_info` (linux/bpf.h), the part that every kernel has. */
export interface MapInfo {
  readonly type: number;
  readonly id: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly name: string;
}

const MAP_INFO_SIZE = 80;
/** BPF_F_RDONLY_PROG, which the kernel sets for maps of devices by itself (kernel/bpf/devmap.c). */
const READ_ONLY_FOR_PROGRAMS = 1 << 7;
/** How many entries a batch moves. */
const BATCH = 4096;
/** The kernel has no batched form for this type of map, or is too old to have any. */
const NO_BATCH = new Set(['ENOTSUPP', 'EOPNOTSUPP', 'EINVAL']);

function readMapInfo(fd: number, what: string): MapInfo {
  const info = objectInfo(fd, MAP_INFO_SIZE, what);
  return {
    type: info.readUInt32LE(0),
    id: info.readUInt32LE(4),
    keySize: info.readUInt32LE(8),
    valueSize: info.readUInt32LE(12),
    maxEntries: info.readUInt32LE(16),
    flags: info.readUInt32LE(20),
    name: info.toString('latin1', 24, 40).replace(/\0.*$/, ''),
  };
}

/** The shape of the map that is pinned at a path. */
export function pinnedMapInfo(path: string): MapInfo {
  using descriptor = openPinned(path, 'map');
  return readMapInfo(descriptor.fd, `map ${path}`);
}

/** A map in the kernel, typed like the spec it was made from. */
export class BpfMap<
  K extends Type = Type,
  V extends Type = Type,
  Kind extends MapKind = MapKind,
> implements Disposable {
  readonly spec: MapSpec<K, V, Kind>;
  readonly #descriptor: Descriptor;
  readonly #cpus: number;
  /** Bytes between the values of two CPUs, and of a value in a buffer. */
  readonly #stride: number;
  /** Values with a lock are read and written under it. */
  readonly #lock: number;
  #batches = true;

  private constructor(descriptor: Descriptor, spec: MapSpec<K, V, Kind>) {
    this.#descriptor = descriptor;
    this.spec = spec;
    this.#cpus = spec.perCpu ? possibleCpus() : 1;
    this.#lock = hasOpaque(spec.value, 'bpf_spin_lock') ? UpdateFlag.LOCK : 0;
    const size = spec.value?.size ?? 0;
    this.#stride = spec.perCpu ? Math.ceil(size / 8) * 8 : size;
  }

  static create<K extends Type, V extends Type, Kind extends MapKind>(spec: MapSpec<K, V, Kind>): BpfMap<K, V, Kind> {
    const what = `create map ${spec.name}`;
    const { key, value } = spec;
    const types = new BtfBuilder();
    const described = key !== undefined && value !== undefined && DESCRIBED.has(spec.kind);
    const btfTypes = described ? { btfKeyTypeId: types.type(key), btfValueTypeId: types.type(value) } : {};
    // The kernel takes the shape of inner maps from one of them (bpf_map_meta_alloc, kernel/bpf/map_in_map.c).
    const inner = innerOf(spec);
    using example = inner && BpfMap.create(inner);
    using btf = described ? loadBtf(types.encode(), what) : undefined;
    const attributes = attribute(attr.mapCreate, {
      mapType: spec.type,
      keySize: key?.size ?? 0,
      valueSize: value?.size ?? 0,
      maxEntries: spec.maxEntries,
      mapFlags: spec.flags,
      name: objectName(spec.name),
      ...(example ? { innerMapFd: example.fd } : {}),
      ...(btf ? { btfFd: btf.fd, ...btfTypes } : {}),
    });
    return new BpfMap(openCommand('MAP_CREATE', attributes, what), spec);
  }

  /** @throws DslError when the pinned map is not of the spec's shape. */
  static openPinned<K extends Type, V extends Type, Kind extends MapKind>(
    path: string,
    spec: MapSpec<K, V, Kind>,
  ): BpfMap<K, V, Kind> {
    return BpfMap.#adopt(openPinned(path, 'map'), spec);
  }

  static openById<K extends Type, V extends Type, Kind extends MapKind>(
    id: number,
    spec: MapSpec<K, V, Kind>,
  ): BpfMap<K, V, Kind> {
    return BpfMap.#adopt(openById('MAP_GET_FD_BY_ID', id), spec);
  }

  static #adopt<K extends Type, V extends Type, Kind extends MapKind>(
    opened: Descriptor,
    spec: MapSpec<K, V, Kind>,
  ): BpfMap<K, V, Kind> {
    return adopt(opened, (descriptor) => {
      const info = readMapInfo(descriptor.fd, `map ${spec.name}`);
      const found = { ...info, flags: info.flags & ~READ_ONLY_FOR_PROGRAMS };
      const wanted = {
        type: spec.type,
        keySize: spec.key?.size ?? 0,
        valueSize: spec.value?.size ?? 0,
        maxEntries: spec.maxEntries,
        flags: spec.flags,
      };
      for (const [what, expected] of Object.entries(wanted)) {
        const actual = found[what as keyof typeof wanted];
        if (actual === expected) continue;
        throw new DslError(
          `open map ${spec.name}: its ${what} is ${String(actual)}, the spec says ${String(expected)}`,
        );
      }
      return new BpfMap(descriptor, spec);
    });
  }

  get fd(): number {
    return this.#descriptor.fd;
  }

  get info(): MapInfo {
    return readMapInfo(this.fd, `map ${this.spec.name}`);
  }

  /** The value under a key, or undefined. */
  lookup(this: BpfMap<K, V, UserKindsFor<'look up in'> & Kind>, key: Infer<K>): Stored<V, Kind> | undefined {
    requireUserKind(this.spec, 'look up in');
    const out = Buffer.alloc(this.#stride * this.#cpus);
    return this.#element('MAP_LOOKUP_ELEM', this.#encodeKey(key), out, this.#lock) ? this.#decode(out, 0) : undefined;
  }

  /** Writes a value. `flag` is an `UpdateFlag`. */
  update(this: BpfMap<K, V, UserKindsFor<'update'> & Kind>, key: Infer<K>, value: Storable<V, Kind>, flag = 0): void {
    requireUserKind(this.spec, 'update');
    const keyBytes = this.#encodeKey(key);
    const valueBytes = this.#encode(value);
    if (!this.#element('MAP_UPDATE_ELEM', keyBytes, valueBytes, flag | this.#lock)) {
      throw commandError(
        'MAP_UPDATE_ELEM',
        `update map ${this.spec.name}`,
        'ENOENT',
        'the key is not there, and the flag asks for it',
      );
    }
  }

  /** Removes a key; whether it was there, which device maps and CPU maps do not tell: always true. */
  delete(this: BpfMap<K, V, UserKindsFor<'delete from'> & Kind>, key: Infer<K>): boolean {
    requireUserKind(this.spec, 'delete from');
    return this.#element('MAP_DELETE_ELEM', this.#encodeKey(key));
  }

  /** Every key with its value. What others change meanwhile may or may not be seen. */
  *entries(this: BpfMap<K, V, UserKindsFor<'read entries of'> & Kind>): Generator<[Infer<K>, Stored<V, Kind>]> {
    requireUserKind(this.spec, 'read entries of');
    for (const { keys, values, count } of this.#pages()) {
      for (let index = 0; index < count; index++) {
        const key = decodeValue(this.#key, keys, index * this.#key.size);
        yield [key, this.#decode(values, index * this.#stride * this.#cpus)];
      }
    }
  }

  /** Writes many values; the whole costs a fraction of single updates where the kernel has batches for this type. */
  updateMany(
    this: BpfMap<K, V, UserKindsFor<'update'> & Kind>,
    entries: readonly (readonly [Infer<K>, Storable<V, Kind>])[],
  ): void {
    requireUserKind(this.spec, 'update');
    const valueSize = this.#stride * this.#cpus;
    for (let start = 0; start < entries.length; start += BATCH) {
      const part = entries.slice(start, start + BATCH);
      const keys = Buffer.concat(part.map(([key]) => this.#encodeKey(key)));
      const values = Buffer.concat(
        part.map(([, value]) => this.#encode(value)),
        valueSize * part.length,
      );
      if (this.#batch('MAP_UPDATE_BATCH', keys, values, part.length)) continue;
      for (const [key, value] of part) this.update(key, value);
    }
  }

  /** Removes many keys; those that are not there are passed over. */
  deleteMany(this: BpfMap<K, V, UserKindsFor<'delete from'> & Kind>, keys: readonly Infer<K>[]): void {
    requireUserKind(this.spec, 'delete from');
    for (let start = 0; start < keys.length; start += BATCH) {
      const part = keys.slice(start, start + BATCH);
      const encoded = Buffer.concat(part.map((key) => this.#encodeKey(key)));
      if (!this.#batch('MAP_DELETE_BATCH', encoded, undefined, part.length)) for (const key of part) this.delete(key);
    }
  }

  /** Forbids user space any further write; the program still may. */
  freeze(): void {
    command('MAP_FREEZE', attribute(attr.element, { mapFd: this.fd }), `freeze map ${this.spec.name}`);
  }

  pin(path: string): void {
    pinObject(this.fd, path, `map ${this.spec.name}`);
  }

  /** The values of an array in this process's memory (`mmap: true` in the spec); each takes its size rounded up to 8 bytes. */
  mmap(): Mapping {
    if ((this.spec.flags & MapFlag.MMAPABLE) === 0) {
      throw new DslError(`mmap map ${this.spec.name}: define it with arrayMap(..., { mmap: true })`);
    }
    const page = pageSize();
    const length = Math.ceil((Math.ceil((this.spec.value?.size ?? 0) / 8) * 8 * this.spec.maxEntries) / page) * page;
    const mapping = Mapping.map(this.fd, length, 0, Protection.READ | Protection.WRITE);
    if ('errno' in mapping) {
      throw new SyscallError('mmap', mapping.errno, `mmap map ${this.spec.name}: mmap failed with ${mapping.errno}`);
    }
    return mapping;
  }

  [Symbol.dispose](): void {
    this.#descriptor[Symbol.dispose]();
  }

  get #key(): K {
    if (!this.spec.key) throw new DslError(`use map ${this.spec.name}: this type of map has no keys`);
    return this.spec.key;
  }

  get #value(): V {
    if (!this.spec.value) throw new DslError(`use map ${this.spec.name}: this type of map has no values`);
    return this.spec.value;
  }

  #encodeKey(key: Infer<K>): Buffer {
    return encodeValue(this.#key, key);
  }

  #encode(value: Storable<V, Kind>): Buffer {
    if (!this.spec.perCpu) return encodeValue(this.#value, elementOf(this.spec, value) as Infer<V>);
    const values = value as readonly Infer<V>[];
    if (values.length !== this.#cpus) {
      throw new RangeError(
        `update map ${this.spec.name}: ${String(values.length)} values given for ${String(this.#cpus)} possible CPUs`,
      );
    }
    const out = Buffer.alloc(this.#stride * this.#cpus);
    values.forEach((one, cpu) => out.set(encodeValue(this.#value, one), cpu * this.#stride));
    return out;
  }

  #decode(from: Buffer, at: number): Stored<V, Kind> {
    if (!this.spec.perCpu) return decodeValue(this.#value, from, at) as Stored<V, Kind>;
    return Array.from({ length: this.#cpus }, (_, cpu) =>
      decodeValue(this.#value, from, at + cpu * this.#stride),
    ) as unknown as Stored<V, Kind>;
  }

  /** One command on one element; false where the kernel says that the key is not there. */
  #element(name: CommandName, key: Buffer, value?: Buffer, flags = 0): boolean {
    const attributes = attribute(attr.element, {
      mapFd: this.fd,
      key: addressOf(key),
      value: value ? addressOf(value) : 0n,
      flags: BigInt(flags),
    });
    const result = tryCommand(name, attributes);
    if (result.ok) return true;
    if (result.errno === 'ENOENT') return false;
    throw commandError(name, `use map ${this.spec.name}`, result.errno, elementAdvice(this.spec, result.errno));
  }

  /** One batched command; false where it has to be done singly: this kernel or type of map has none, or a key is missing. */
  #batch(name: CommandName, keys: Buffer, values: Buffer | undefined, count: number): boolean {
    if (!this.#batches) return false;
    const valuesAt = values ? addressOf(values) : 0n;
    const attributes = attribute(attr.batch, {
      keys: addressOf(keys),
      values: valuesAt,
      count,
      mapFd: this.fd,
      elemFlags: BigInt(values ? this.#lock : 0),
    });
    const result = tryCommand(name, attributes);
    if (result.ok) return true;
    if (result.errno === 'ENOENT') return false;
    if (!NO_BATCH.has(result.errno)) throw commandError(name, `use map ${this.spec.name}`, result.errno);
    this.#batches = false;
    return false;
  }

  *#pages(): Generator<{ keys: Buffer; values: Buffer; count: number }> {
    const keySize = this.#key.size;
    const valueSize = this.#stride * this.#cpus;
    const keys = Buffer.alloc(BATCH * keySize);
    const values = Buffer.alloc(BATCH * valueSize);
    // A position is a bucket number for hashes and a key for tries.
    const position = Buffer.alloc(Math.max(keySize, 8));
    for (let first = true; this.#batches; first = false) {
      const attributes = attribute(attr.batch, {
        inBatch: first ? 0n : addressOf(position),
        outBatch: addressOf(position),
        keys: addressOf(keys),
        values: addressOf(values),
        count: BATCH,
        mapFd: this.fd,
        elemFlags: BigInt(this.#lock),
      });
      const result = tryCommand('MAP_LOOKUP_BATCH', attributes);
      const count = attributes.readUInt32LE(attr.batch.offsets.count);
      if (result.ok || result.errno === 'ENOENT') yield { keys, values, count };
      if (result.ok) continue;
      if (result.errno === 'ENOENT') return;
      // ENOSPC: a bucket holds more than a batch; walking by keys needs no room.
      if (!first || !(NO_BATCH.has(result.errno) || result.errno === 'ENOSPC')) {
        throw commandError('MAP_LOOKUP_BATCH', `read map ${this.spec.name}`, result.errno);
      }
      this.#batches = false;
    }
    yield* this.#singly();
  }

  *#singly(): Generator<{ keys: Buffer; values: Buffer; count: number }> {
    const keys = Buffer.alloc(this.#key.size);
    const values = Buffer.alloc(this.#stride * this.#cpus);
    for (let previous: Buffer | undefined; ; previous = Buffer.from(keys)) {
      const attributes = attribute(attr.element, {
        mapFd: this.fd,
        key: previous ? addressOf(previous) : 0n,
        value: addressOf(keys),
      });
      const result = tryCommand('MAP_GET_NEXT_KEY', attributes);
      if (!result.ok && result.errno === 'ENOENT') return;
      if (!result.ok) throw commandError('MAP_GET_NEXT_KEY', `read map ${this.spec.name}`, result.errno);
      if (this.#element('MAP_LOOKUP_ELEM', keys, values, this.#lock)) yield { keys, values, count: 1 };
    }
  }
}
