import { enumOf } from '../../ebpf/language.ts';
import type { ChallengeForm, Policy } from '../../policy/policy.ts';

/** How a SYN is answered, as a policy's word has been settled for this kernel. */
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
  /** The host's own window scale. */
  readonly windowScale: number;
  /** Where this kernel's `struct sock` has the length of the accept queue and its limit: bytes; left out where that is not known. */
  readonly acceptQueue?: { readonly length: number; readonly limit: number };
  /** What can be read of a listener; left out where this kernel does not say where it lies. */
  readonly listener?: ListenerFields;
  /** Where what is left of a connection in TIME-WAIT has the sequence number that is next: bytes; left out where that is not known. */
  readonly timeWaitNext?: number;
}

/** Where this kernel has a listener's fields: bytes from the start of its `struct tcp_sock`. */
export interface ListenerFields {
  /** Whether it is for Multipath TCP; left out where the kernel has none. */
  readonly mptcp?: number;
  /** Pointers to the keys of signed segments (TCP-MD5, TCP-AO), where the kernel has them. */
  readonly keys: readonly number[];
  /** The receive buffer, which buffers were set by its owner, the clamp of its window, and how much of a buffer is data, in 256ths. */
  readonly buffer: number;
  readonly locks: number;
  readonly clamp: number;
  readonly ratio: number;
  /** No offset: what receive buffers may grow to, in bytes (tcp_rmem, rmem_max). */
  readonly largest: number;
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
export interface Challenger {
  /** The form of every service; where `forms` is given, of those that it does not name. */
  readonly form: Form;
  /** What a policy's words come to here, where they come to several things; undefined for what this kernel cannot do. */
  readonly forms?: Partial<Record<ChallengeForm, Form | undefined>>;
  readonly stack: Stack;
  /** Challenges listeners by `reset` that `assign` cannot serve; otherwise they are left to the limits. */
  readonly resetsOthers?: boolean;
  /** Answers only for addresses that the maps of `state/host.ts` name. */
  readonly knowsHost?: boolean;
  /** Assumes a listener everywhere, without a look-up: a replay has no host. */
  readonly assumeListening?: boolean;
}

/** How a service says that it is to be challenged, as a number. */
export const FormWord = enumOf('form_word', { COOKIE: 0, ASSIGN: 1, KERNEL: 2, RESET: 3 });
export const FORM_WORDS = {
  cookie: FormWord.COOKIE,
  assign: FormWord.ASSIGN,
  kernel: FormWord.KERNEL,
  reset: FormWord.RESET,
} as const;

/** What a word of a policy comes to. */
function settledForm({ form, forms }: Pick<Challenger, 'form' | 'forms'>, word: ChallengeForm): Form | undefined {
  return forms && word in forms ? forms[word] : form;
}

type Services = Pick<Policy, 'services'>;

/** The words of services that are challenged, and may be answered in one of these forms. */
export function wordsFor({ services }: Services, challenger: Challenger, forms: readonly (Form | undefined)[]) {
  const words = services.filter(({ challenge }) => challenge !== 'off').map(({ form }) => form);
  return [...new Set(words)].filter((word) => forms.includes(settledForm(challenger, word)));
}

/** The forms that a program has to hold, each once. */
export function formsIn(policy: Services, challenger: Challenger): readonly Form[] {
  const wanted = new Set<Form>(
    (['assign', 'kernel', 'reset'] as const).filter((form) => wordsFor(policy, challenger, [form]).length > 0),
  );
  if (wanted.has('assign') && challenger.resetsOthers === true) wanted.add('reset');
  return [...wanted];
}
