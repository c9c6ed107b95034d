/** `seawall/ebpf`: write eBPF programs in TypeScript, load them, and use their maps. Knows nothing of packets' contents or floods. */
export { disassemble, disassembleAll } from './asm/disassemble.ts';
export type { Instruction } from './asm/instruction.ts';
export {
  array, type ArrayOf, be16, be32, be64, type Bytes, bytes, decodeValue, encodeValue, type Fields, type Infer, type Scalar,
  type ScalarName, struct, type Struct, type Type, u8, u16, u32, u64,
} from './btf/type.ts';
export { Builder, type ContextValue, type HelperName, type LoopControl, type MapValue, UpdateFlag } from './dsl/builder.ts';
export { Condition } from './dsl/condition.ts';
export { func, type Func } from './dsl/func.ts';
export { Int, type IntVariable, Network, type NetworkVariable, type NetworkWidth, type Width } from './dsl/int.ts';
export {
  arrayMap, hashMap, lpmTrie, lruHash, lruPerCpuHash, type MapSpec, perCpuArray, perCpuHash, programArray, ringBuffer,
} from './dsl/map.ts';
export { Exited, Maybe } from './dsl/maybe.ts';
export type { Packet } from './dsl/packet.ts';
export {
  compile, dump, LICENSE, type ProgramSpec, XDP, xdp, type XdpAction, type XdpBuilder, type XdpPacket, type XdpVerdict,
} from './dsl/program.ts';
export { BytesValue, Elements, Ref, type ScalarValue, type ValueOf, type View, type Writable } from './dsl/view.ts';
export {
  DslError, type ErrorCode, errorCodes, PolicyError, SeawallError, SyscallError, UnsupportedError,
} from './errors.ts';
export type { Backend, CompiledCode } from './ir/compile.ts';
export { BpfMap, type MapInfo, type Stored } from './kernel/bpf-map.ts';
export { BPF_FILE_SYSTEM, ensureBpfFileSystem, possibleCpus, unpin } from './kernel/pin.ts';
export {
  type Feature, kernelAtLeast, probedMapTypes, probedProgramTypes, probeHelper, probeJit, probeMapType, probeProgramType,
  requireFeature,
} from './kernel/probes.ts';
export { type LoadOptions, Program, type TestRunOptions, type TestRunResult, withRunStatistics } from './kernel/program.ts';
export { type RecordHandler, RingBuffer } from './kernel/ring-buffer.ts';
export { VerifierError } from './kernel/verifier-error.ts';
export { type AttachOptions, XdpLink, type XdpLinkInfo, type XdpMode } from './kernel/xdp-link.ts';
export { codeFrame, type SourceLocation } from './source-location.ts';
export { pinToCpu, setNetworkNamespace } from './sys/libc.ts';
export { Descriptor, leakedDescriptors, traceDescriptors } from './sys/descriptor.ts';
export { type InterfaceState, readInterface } from './sys/link-state.ts';
export { interfaceIndex } from './sys/libc.ts';
