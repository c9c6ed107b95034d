/** `seawall`: protects interfaces of this host from SYN floods. */
export { type ProtectedInterface, type ProtectOptions, protect, type Stats } from './engine/protect.ts';
export type { SynReport } from './engine/syn-report.ts';
export { type Reason, type ReasonName, reasons, type VerdictName } from './dataplane/outcome/reason.ts';
export type { Policy } from './policy/policy.ts';
export { PolicyError } from './policy/policy-error.ts';
export type { PolicyInput } from './policy/schema.ts';
export { readPolicy } from './policy/toml.ts';
export {
  DslError,
  type ErrorCode,
  SeawallError,
  SyscallError,
  UnsupportedError,
  VerifierError,
  type XdpMode,
} from './ebpf/index.ts';
