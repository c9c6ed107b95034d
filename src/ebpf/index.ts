/** `seawall/ebpf`: write eBPF programs in TypeScript, load them, and use their maps. Knows nothing of packets' contents or floods. */
export * from './language.ts';
export { BpfMap, type MapInfo, pinnedMapInfo } from './kernel/bpf-map.ts';
export type { MapHandle, Storable, ProgramHandle, Stored } from './kernel/map-element.ts';
export { BPF_FILE_SYSTEM, ensureBpfFileSystem, possibleCpus, unpin } from './kernel/pin.ts';
export { formatImage, imageOf, knownImage, parseImage, type ProgramImage } from './kernel/image.ts';
export { verifierVisits } from './kernel/load.ts';
export {
  kernelFieldOffset,
  kernelFunctionId,
  type KernelFunctions,
  knownKernelFunctions,
  learnKernelFunctions,
  probeKernelFunction,
} from './kernel/kernel-btf.ts';
export { TcLink } from './kernel/tc-link.ts';
export {
  type Feature,
  kernelAtLeast,
  probedMapTypes,
  probedProgramTypes,
  probeHelper,
  probeJit,
  probeMapType,
  probeProgramType,
  requireFeature,
} from './kernel/probes.ts';
export {
  type LoadOptions,
  Program,
  type TestRunOptions,
  type TestRunResult,
  enableRunStatistics,
} from './kernel/program.ts';
export { type RecordHandler, RingBuffer } from './kernel/ring-buffer.ts';
export { VerifierError } from './kernel/verifier-error.ts';
export { type LinkInfo } from './kernel/interface-link.ts';
export { type AttachOptions, XdpLink, type XdpMode } from './kernel/xdp-link.ts';
export { canWrite, lockFile, pinToCpu, setNetworkNamespace, tickNanoseconds } from './sys/libc.ts';
export { Descriptor, leakedDescriptors, traceDescriptors } from './sys/descriptor.ts';
export { HostReader, type HostState } from './sys/host-state.ts';
export { type InterfaceAddress, type InterfaceState, readInterface } from './sys/link-state.ts';
export { interfaceIndex, interfaceName } from './sys/libc.ts';
