/**
 * `union bpf_attr` (linux/bpf.h), a struct a command, as far as the toolkit uses it. The kernel takes shorter attributes than
 * it knows and reads the rest as zeros.
 */
import { bytes, type Fields, type Infer, type Struct, struct, u32, u64 } from '../btf/type.ts';

const name = bytes(16);

export const attr = {
  mapCreate: struct('map_create', {
    mapType: u32,
    keySize: u32,
    valueSize: u32,
    maxEntries: u32,
    mapFlags: u32,
    innerMapFd: u32,
    numaNode: u32,
    name,
    ifindex: u32,
    btfFd: u32,
    btfKeyTypeId: u32,
    btfValueTypeId: u32,
  }),
  element: struct('map_elem', { mapFd: u32, pad: u32, key: u64, value: u64, flags: u64 }),
  batch: struct('batch', {
    inBatch: u64,
    outBatch: u64,
    keys: u64,
    values: u64,
    count: u32,
    mapFd: u32,
    elemFlags: u64,
    flags: u64,
  }),
  programLoad: struct('prog_load', {
    programType: u32,
    insnCount: u32,
    insns: u64,
    license: u64,
    logLevel: u32,
    logSize: u32,
    logBuffer: u64,
    kernelVersion: u32,
    programFlags: u32,
    name,
    ifindex: u32,
    expectedAttachType: u32,
    btfFd: u32,
    funcInfoSize: u32,
    funcInfo: u64,
    funcInfoCount: u32,
    lineInfoSize: u32,
    lineInfo: u64,
    lineInfoCount: u32,
    pad: u32,
  }),
  object: struct('obj', { path: u64, fd: u32, flags: u32 }),
  testRun: struct('test', {
    programFd: u32,
    retval: u32,
    dataSizeIn: u32,
    dataSizeOut: u32,
    dataIn: u64,
    dataOut: u64,
    repeat: u32,
    duration: u32,
    ctxSizeIn: u32,
    ctxSizeOut: u32,
    ctxIn: u64,
    ctxOut: u64,
    flags: u32,
    cpu: u32,
    batchSize: u32,
    pad: u32,
  }),
  id: struct('id', { id: u32, nextId: u32, openFlags: u32, pad: u32 }),
  info: struct('info', { fd: u32, length: u32, info: u64 }),
  btfLoad: struct('btf_load', { btf: u64, logBuffer: u64, size: u32, logSize: u32, logLevel: u32, pad: u32 }),
  linkCreate: struct('link_create', { programFd: u32, target: u32, attachType: u32, flags: u32 }),
  linkUpdate: struct('link_update', { linkFd: u32, newProgramFd: u32, flags: u32, oldProgramFd: u32 }),
  descriptor: struct('fd', { fd: u32, pad: u32 }),
} as const;

/** The attribute of a command; what is not given is zero. Written field by field, because some commands run a million times. */
export function attribute<F extends Fields>(type: Struct<F>, values: Partial<Infer<Struct<F>>>): Buffer {
  const out = Buffer.alloc(type.size);
  for (const field in values) {
    const value = values[field];
    const fieldType = type.fields[field]!;
    const at = type.offsets[field];
    if (fieldType.kind === 'bytes') out.set(value as Uint8Array, at);
    else if (fieldType.size === 8) out.writeBigUInt64LE(BigInt(value as number | bigint), at);
    else out.writeUInt32LE(value as number, at);
  }
  return out;
}

/** A name of a kernel object: 15 characters and a zero. */
export function objectName(text: string): Uint8Array {
  const out = new Uint8Array(16);
  out.set(Buffer.from(text.replaceAll(/[^\w.]/g, '_').slice(0, 15)));
  return out;
}
