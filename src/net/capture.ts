/**
 * Captures: reads pcap (microseconds or nanoseconds, either byte order; draft-ietf-opsawg-pcap) and pcapng
 * (draft-ietf-opsawg-pcapng), writes both.
 */

/** A packet of a capture. `time` is in nanoseconds since 1970; `length` is the length on the wire; `data` may be shorter. */
export interface CapturedPacket {
  readonly time: bigint;
  readonly data: Buffer;
  readonly length: number;
  /** LINKTYPE_*, 1 for Ethernet. */
  readonly linkType: number;
}

export const LINKTYPE_ETHERNET = 1;

/** A capture that cannot be read, with the byte at which it stops making sense. */
export class CaptureError extends Error {
  readonly offset: number;
  constructor(reason: string, offset: number) {
    super(`read capture: ${reason}, at byte ${String(offset)}`);
    this.name = 'CaptureError';
    this.offset = offset;
  }
}

const PcapMagic = { MICROSECONDS: 0xa1b2c3d4, NANOSECONDS: 0xa1b23c4d } as const;
const PCAP_HEADER = 24;
const PCAP_RECORD = 16;
const Block = { SECTION: 0x0a0d0d0a, INTERFACE: 1, SIMPLE: 3, ENHANCED: 6 } as const;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const IF_TSRESOL = 9;
const MAX_PACKET = 1 << 24;

class Reader {
  readonly bytes: Buffer;
  big = false;
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
  u16(at: number): number {
    return this.big ? this.bytes.readUInt16BE(at) : this.bytes.readUInt16LE(at);
  }
  u32(at: number): number {
    return this.big ? this.bytes.readUInt32BE(at) : this.bytes.readUInt32LE(at);
  }
}

/** The packets of a capture in order. @throws CaptureError where it is broken or cut short. */
export function* readCapture(bytes: Buffer): Generator<CapturedPacket> {
  if (bytes.length < 4) throw new CaptureError('the file is empty or too short for any header', 0);
  const magic = bytes.readUInt32LE(0);
  if (magic === Block.SECTION) return yield* readPcapng(bytes);
  const reader = new Reader(bytes);
  for (const big of [false, true]) {
    reader.big = big;
    const found = reader.u32(0);
    if (found === PcapMagic.MICROSECONDS) return yield* readPcap(reader, 1000n);
    if (found === PcapMagic.NANOSECONDS) return yield* readPcap(reader, 1n);
  }
  throw new CaptureError('neither a pcap nor a pcapng file', 0);
}

function* readPcap(reader: Reader, unit: bigint): Generator<CapturedPacket> {
  const { bytes } = reader;
  if (bytes.length < PCAP_HEADER) throw new CaptureError('the file header is cut short', bytes.length);
  const linkType = reader.u32(20) & 0xffff;
  for (let at = PCAP_HEADER; at < bytes.length;) {
    if (at + PCAP_RECORD > bytes.length) throw new CaptureError('a record header is cut short', at);
    const captured = reader.u32(at + 8);
    if (captured > MAX_PACKET) throw new CaptureError(`a record claims ${String(captured)} bytes`, at);
    const start = at + PCAP_RECORD;
    if (start + captured > bytes.length) throw new CaptureError('a packet is cut short', at);
    const time = BigInt(reader.u32(at)) * 1_000_000_000n + BigInt(reader.u32(at + 4)) * unit;
    yield { time, data: bytes.subarray(start, start + captured), length: reader.u32(at + 12), linkType };
    at = start + captured;
  }
}

interface CaptureInterface {
  readonly linkType: number;
  readonly snapLength: number;
  /** Nanoseconds for a number of units. */
  readonly nanoseconds: (units: bigint) => bigint;
}

function* readPcapng(bytes: Buffer): Generator<CapturedPacket> {
  const reader = new Reader(bytes);
  let interfaces: CaptureInterface[] = [];
  for (let at = 0; at < bytes.length;) {
    if (at + 12 > bytes.length) throw new CaptureError('a block is cut short', at);
    if (bytes.readUInt32LE(at) === Block.SECTION) {
      reader.big = bytes.readUInt32BE(at + 8) === BYTE_ORDER_MAGIC;
      if (reader.u32(at + 8) !== BYTE_ORDER_MAGIC) throw new CaptureError('a section has no byte-order magic', at + 8);
      interfaces = [];
    }
    const type = reader.u32(at);
    const length = reader.u32(at + 4);
    if (length < 12 || length % 4 !== 0 || at + length > bytes.length) {
      throw new CaptureError(`a block claims ${String(length)} bytes`, at);
    }
    const end = at + length - 4;
    if (type === Block.INTERFACE) interfaces.push(readInterfaceBlock(reader, at, end));
    if (type === Block.ENHANCED) yield readEnhanced(reader, at, end, interfaces);
    if (type === Block.SIMPLE) yield readSimple(reader, at, end, interfaces);
    at += length;
  }
}

function readInterfaceBlock(reader: Reader, at: number, end: number): CaptureInterface {
  if (at + 16 > end) throw new CaptureError('an interface block is cut short', at);
  let resolution = 6;
  for (let option = at + 16; option + 4 <= end;) {
    const [code, length] = [reader.u16(option), reader.u16(option + 2)];
    if (code === 0) break;
    if (code === IF_TSRESOL && length === 1) resolution = reader.bytes[option + 4]!;
    option += 4 + ((length + 3) & ~3);
  }
  // The top bit tells powers of two from powers of ten.
  const perSecond = (resolution & 0x80) === 0 ? 10n ** BigInt(resolution) : 1n << BigInt(resolution & 0x7f);
  return {
    linkType: reader.u16(at + 8),
    snapLength: reader.u32(at + 12),
    nanoseconds: (units) => (units * 1_000_000_000n) / perSecond,
  };
}

function readEnhanced(
  reader: Reader,
  at: number,
  end: number,
  interfaces: readonly CaptureInterface[],
): CapturedPacket {
  if (at + 28 > end) throw new CaptureError('a packet block is cut short', at);
  const from = interfaces[reader.u32(at + 8)];
  if (!from)
    throw new CaptureError(`a packet names interface ${String(reader.u32(at + 8))}, which is not described`, at);
  const captured = reader.u32(at + 20);
  if (at + 28 + captured > end) throw new CaptureError('a packet is longer than its block', at);
  const units = (BigInt(reader.u32(at + 12)) << 32n) | BigInt(reader.u32(at + 16));
  const data = reader.bytes.subarray(at + 28, at + 28 + captured);
  return { time: from.nanoseconds(units), data, length: reader.u32(at + 24), linkType: from.linkType };
}

function readSimple(reader: Reader, at: number, end: number, interfaces: readonly CaptureInterface[]): CapturedPacket {
  const [from] = interfaces;
  if (!from) throw new CaptureError('a packet comes before any interface', at);
  const length = reader.u32(at + 8);
  const captured = Math.min(length, from.snapLength === 0 ? length : from.snapLength, end - at - 12);
  return { time: 0n, data: reader.bytes.subarray(at + 12, at + 12 + captured), length, linkType: from.linkType };
}

/** The header of a pcap file with nanoseconds. */
export function pcapHeader(linkType = LINKTYPE_ETHERNET): Buffer {
  const header = Buffer.alloc(PCAP_HEADER);
  header.writeUInt32LE(PcapMagic.NANOSECONDS, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(MAX_PACKET, 16);
  header.writeUInt32LE(linkType, 20);
  return header;
}

type Written = Pick<CapturedPacket, 'time' | 'data' | 'length'>;

export function pcapRecord({ time, data, length }: Written): Buffer {
  const header = Buffer.alloc(PCAP_RECORD);
  header.writeUInt32LE(Number(time / 1_000_000_000n), 0);
  header.writeUInt32LE(Number(time % 1_000_000_000n), 4);
  header.writeUInt32LE(data.length, 8);
  header.writeUInt32LE(length, 12);
  return Buffer.concat([header, data]);
}

function pcapngBlock(type: number, body: Buffer): Buffer {
  const padded = Math.ceil(body.length / 4) * 4;
  const block = Buffer.alloc(padded + 12);
  block.writeUInt32LE(type, 0);
  block.writeUInt32LE(block.length, 4);
  body.copy(block, 8);
  block.writeUInt32LE(block.length, block.length - 4);
  return block;
}

/** The blocks that begin a pcapng file: a section, and one interface with nanoseconds. */
export function pcapngHeader(linkType = LINKTYPE_ETHERNET): Buffer {
  const section = Buffer.alloc(16);
  section.writeUInt32LE(BYTE_ORDER_MAGIC, 0);
  section.writeUInt16LE(1, 4);
  section.writeBigInt64LE(-1n, 8);
  const description = Buffer.alloc(20);
  description.writeUInt16LE(linkType, 0);
  description.writeUInt16LE(IF_TSRESOL, 8);
  description.writeUInt16LE(1, 10);
  description.writeUInt8(9, 12);
  return Buffer.concat([pcapngBlock(Block.SECTION, section), pcapngBlock(Block.INTERFACE, description)]);
}

export function pcapngPacket({ time, data, length }: Written): Buffer {
  const header = Buffer.alloc(20);
  header.writeUInt32LE(Number(time >> 32n), 4);
  header.writeUInt32LE(Number(time & 0xffff_ffffn), 8);
  header.writeUInt32LE(data.length, 12);
  header.writeUInt32LE(length, 16);
  return pcapngBlock(Block.ENHANCED, Buffer.concat([header, data]));
}
