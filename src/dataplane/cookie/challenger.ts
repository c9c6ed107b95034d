/** The three forms, as a policy's `cookie` has been settled for this kernel. */
export type Form = 'assign' | 'kernel' | 'reset';

/** What the host behind takes part in: its sysctls, and how large its packets may be. */
export interface Stack {
  readonly timestamps: boolean;
  /** Whether its timestamps are the clock's, without a secret offset for each pair of addresses (net.ipv4.tcp_timestamps=2). */
  readonly plainTimestamps: boolean;
  readonly sack: boolean;
  readonly windowScaling: boolean;
  readonly ecn: boolean;
  readonly mtu: number;
  /** What it scales its own windows by. */
  readonly windowScale: number;
  /** Where this kernel's `struct sock` has the length of the accept queue and its limit: bytes; left out where that is not known. */
  readonly acceptQueue?: { readonly length: number; readonly limit: number };
}

export const DEFAULT_STACK: Stack = {
  timestamps: true,
  plainTimestamps: false,
  sack: true,
  windowScaling: true,
  ecn: true,
  mtu: 1500,
  windowScale: 7,
};
/** The form `assign` tells the host what to scale its window by. */
export const ASSIGNED_WINDOW_SCALE = 7;

export interface Challenger {
  readonly form: Form;
  readonly stack: Stack;
  /** Takes it that somebody listens everywhere, without looking: in a replay there is no host. */
  readonly assumeListening?: boolean;
}
