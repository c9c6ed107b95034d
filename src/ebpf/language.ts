/** The pure half of the toolkit: writing and compiling programs. No system calls; what generates programs imports only this. */
export { disassemble, disassembleAll } from './asm/disassemble.ts';
export { type Instruction, slots } from './asm/instruction.ts';
export {
  array,
  type ArrayOf,
  be16,
  be32,
  be64,
  type Bytes,
  bytes,
  decodeValue,
  encodeValue,
  type Fields,
  type Infer,
  type Opaque,
  spinLock,
  type Scalar,
  type ScalarName,
  struct,
  type Struct,
  timer,
  type Type,
  u8,
  u16,
  u32,
  u64,
} from './btf/type.ts';
export { TC, type TcAction, type TcVerdict, XDP, type XdpAction, type XdpVerdict } from './dsl/action.ts';
export { Builder } from './dsl/builder.ts';
export { UpdateFlag } from './dsl/update-flag.ts';
export { type AnyView, LOOP, type LoopStep } from './dsl/callback.ts';
export type { Entry } from './dsl/for-each.ts';
export type { ContextValue, HelperName } from './dsl/helper-arguments.ts';
export type { Given, Shape, Shaped } from './dsl/inline.ts';
export type { LoopControl } from './dsl/loop.ts';
export type { MapValue } from './dsl/map-value.ts';
export { Condition } from './dsl/condition.ts';
export { type Enum, EnumMember, enumOf, EnumType, EnumValue, EnumVariable } from './dsl/enum.ts';
export { func, type Func } from './dsl/func.ts';
export { globalFunc, type GlobalFunc, type GlobalParameter } from './dsl/global-func.ts';
export { Int, type IntVariable, Network, type NetworkVariable, type NetworkWidth, type Width } from './dsl/int.ts';
export {
  arrayMap,
  cpuMap,
  deviceHash,
  deviceMap,
  hashMap,
  lpmTrie,
  lruHash,
  lruPerCpuHash,
  type MapSpec,
  perCpuArray,
  perCpuHash,
  programArray,
  ringBuffer,
  type RingSpec,
} from './dsl/map.ts';
export { arrayOfMaps, type FoundMap, hashOfMaps, type InnerSpec, type MapOf } from './dsl/map-of-maps.ts';
export { Exited } from './dsl/exited.ts';
export type { Choosable, Chosen } from './dsl/when.ts';
export { Maybe } from './dsl/maybe.ts';
export type { MapKind } from './dsl/map-kind.ts';
export type { Packet } from './dsl/packet.ts';
export type { TcPacket, XdpPacket } from './dsl/packet-kinds.ts';
export {
  compile,
  dump,
  LICENSE,
  type ProgramSpec,
  tc,
  type TcBuilder,
  xdp,
  type XdpBuilder,
  type XdpOptions,
} from './dsl/program.ts';
export { BytesValue } from './dsl/bytes-value.ts';
export type { ScalarValue } from './dsl/memory.ts';
export { Ref } from './dsl/ref.ts';
export { type Socket, type SocketPointer, TCP_LISTEN, TCP_TIME_WAIT, type TcpSocket } from './dsl/socket.ts';
export { Elements, type Snapshot, type ValueOf, type View, type Writable } from './dsl/view.ts';
export { DslError, type ErrorCode, errorCodes, SeawallError, SyscallError, UnsupportedError } from './errors.ts';
export type { Backend, CompiledCode } from './ir/compile.ts';
export { FunctionCache, type KnownFunctions } from './ir/function-cache.ts';
export { formatFunctions, parseFunctions } from './ir/function-text.ts';
export { codeFrame, type SourceLocation } from './source-location.ts';
