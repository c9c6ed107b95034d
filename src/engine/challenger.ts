/** Which form of challenge this kernel and host can do, and what the host's own stack takes part in. */
import {
  interfaceIndex,
  kernelFieldOffset,
  type Feature,
  probeHelper,
  probeKernelFunction,
  readInterface,
  UnsupportedError,
} from '../ebpf/index.ts';
import type { Challenger, Form, ListenerFields, Stack } from '../dataplane/cookie/challenger.ts';
import type { ChallengeForm, Policy, Service } from '../policy/policy.ts';
import { PLAIN, readSysctl, SYNCOOKIES, TIMESTAMPS, UNCONDITIONAL } from './sysctls.ts';

/** What each form needs of the kernel. */
export function formFeature(form: Form): Feature | undefined {
  if (form === 'assign') return probeKernelFunction('bpf_sk_assign_tcp_reqsk', '6.9');
  if (form === 'kernel') return probeHelper('tcp_raw_gen_syncookie_ipv4');
  return undefined;
}

/** The form of challenge that a policy's word means here. */
export interface Settled {
  readonly challenger: Challenger | undefined;
  /** The choice and its reason, or why there is none. */
  readonly note: string;
}

/** What the host scales windows by that it offers (`tcp_select_initial_window`, net/ipv4/tcp_output.c), unless a listener has set its own buffer. */
function windowScale(largest: number): number {
  return Math.min(14, Math.max(0, Math.floor(Math.log2(largest)) - 15));
}

/** What receive buffers may grow to: bytes. */
function largestBuffer(): number {
  return Math.max(Number(readSysctl('ipv4/tcp_rmem').split(/\s+/)[2] ?? 0), Number(readSysctl('core/rmem_max')), 1);
}

/** Where this kernel has what is asked of a listener; undefined where it lacks something that every kernel since 6.6 has. */
function listenerFields(largest: number): ListenerFields | undefined {
  const at = (struct: string, member: string): number | undefined => {
    const offset = kernelFieldOffset(struct, member);
    return offset !== undefined && Number.isInteger(offset) ? offset : undefined;
  };
  const [buffer, locks] = [at('sock', 'sk_rcvbuf'), at('sock', 'sk_userlocks')];
  const [clamp, ratio] = [at('tcp_sock', 'window_clamp'), at('tcp_sock', 'scaling_ratio')];
  const mptcp = at('tcp_sock', 'is_mptcp');
  const keys = ['md5sig_info', 'ao_info'].flatMap((member) => at('tcp_sock', member) ?? []);
  if (buffer === undefined || locks === undefined || clamp === undefined || ratio === undefined) return undefined;
  return { ...(mptcp === undefined ? {} : { mptcp }), keys, buffer, locks, clamp, ratio, largest };
}

/** Whether programs of traffic control can be attached by links: `tcx_link_attach`, kernel/bpf/tcx.c. */
const hasTcx = (): boolean => probeKernelFunction('tcx_link_attach', '6.6').available;

function readStack(mtu: number, setSysctls: boolean): Stack {
  const on = (name: string): boolean => readSysctl(`ipv4/${name}`) !== '0';
  const [length, limit] = ['sk_ack_backlog', 'sk_max_ack_backlog'].map((member) => kernelFieldOffset('sock', member));
  const largest = largestBuffer();
  const listener = listenerFields(largest);
  // What is read of a TIME-WAIT is of use to the half in traffic control alone, whose link is a tcx link.
  const next = hasTcx() ? kernelFieldOffset('sock_common', 'skc_tw_rcv_nxt') : undefined;
  return {
    ...(listener ? { listener } : {}),
    ...(next === undefined ? {} : { timeWaitNext: next }),
    ...(length !== undefined && limit !== undefined ? { acceptQueue: { length, limit } } : {}),
    timestamps: on('tcp_timestamps'),
    plainTimestamps: readSysctl(TIMESTAMPS) === PLAIN || (setSysctls && on('tcp_timestamps')),
    sack: on('tcp_sack'),
    windowScaling: on('tcp_window_scaling'),
    ecn: on('tcp_ecn'),
    mtu,
    windowScale: windowScale(largest),
  };
}

/** The form that a word means here, and why. @throws UnsupportedError for a form asked for by name that this kernel lacks. */
function settle(word: ChallengeForm, setSysctls: boolean): { readonly form: Form | undefined; readonly note: string } {
  const take = (form: Form, why: string) => ({
    form,
    note: form === word ? `challenge: ${form}` : `challenge: ${form} (${why})`,
  });
  const has = (wanted: Form): boolean => {
    const feature = formFeature(wanted);
    if (!feature || feature.available) return true;
    if (word === wanted) throw new UnsupportedError(feature.name, feature.since);
    return false;
  };
  if (word === 'reset') return take('reset', '');
  if (word !== 'kernel' && has('assign')) return take('assign', 'cookies that traffic control accepts');
  if (!has('kernel'))
    return {
      form: undefined,
      note: 'no challenge: this kernel has no SYN cookies for XDP (Linux 6.0). What is over a limit is dropped',
    };
  if (readSysctl(SYNCOOKIES) === UNCONDITIONAL || setSysctls) return take('kernel', "the kernel's own cookies");
  return {
    form: undefined,
    note: 'no challenge: the form kernel needs net.ipv4.tcp_syncookies=2; set it, or allow it with challenge.set-sysctls = true. What is over a limit is dropped',
  };
}

/** Settles the forms for an interface of this network namespace. @throws UnsupportedError for a form asked for by name that this kernel lacks. */
export function settleChallenger(policy: Policy, interfaceName: string): Settled {
  const { services, setSysctls } = policy;
  const challenged = services.filter(({ challenge }) => challenge !== 'off');
  if (challenged.length === 0) return { challenger: undefined, note: 'challenges are off' };
  const words = [...new Set(challenged.map(({ form }) => form))];
  const settled = words.map((word) => ({ word, ...settle(word, setSysctls) }));
  const note = settled.map((one) => {
    if (words.length === 1) return one.note;
    const whom = `for ${named(challenged.filter(({ form }) => form === one.word))}`;
    return one.form === undefined ? one.note.replace('no challenge', `no challenge ${whom}`) : `${one.note} ${whom}`;
  });
  const found = new Set(settled.map((one) => one.form));
  if (found.has('assign') && found.has('kernel') && services.some(({ state }) => state !== 'off'))
    note.push('state is off: it does not work with the forms assign and kernel side by side');
  const form = settled.find((one) => one.form !== undefined)?.form;
  if (form === undefined) return { challenger: undefined, note: note.join('; ') };
  const index = interfaceIndex(interfaceName);
  const stack = readStack(index === undefined ? 1500 : readInterface(index).mtu, setSysctls);
  const forms = Object.fromEntries(settled.map((one) => [one.word, one.form]));
  // `assign` asked for by name has no substitute.
  const resetsOthers = forms['cookie'] === 'assign' && stack.listener?.mptcp !== undefined;
  return { challenger: { form, forms, stack, resetsOthers, knowsHost: true }, note: note.join('; ') };
}

const MOST_NAMES = 5;

function named(services: readonly Service[]): string {
  const more = services.length - MOST_NAMES;
  const names = services.slice(0, MOST_NAMES).map(({ name }) => name);
  return `${names.join(', ')}${more > 0 ? ` and ${String(more)} more` : ''}`;
}
