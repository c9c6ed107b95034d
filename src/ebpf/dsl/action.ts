import { DslError } from '../errors.ts';
import { CallSite } from '../source-location.ts';
import { XdpActionCode } from '../uapi/constants.gen.ts';
import { watched } from './dropped-verdict.ts';
import type { Emitter } from './emitter.ts';
import { Int } from './int.ts';

/** A verdict of the kernel. Only `XDP` and `TC` have such values. */
export class Action<Kind extends 'XDP' | 'TC' = 'XDP' | 'TC', Name extends string = string> {
  readonly kind: Kind;
  readonly name: Name;
  readonly code: number;
  declare private readonly brand: 'action';

  constructor(kind: Kind, name: Name, code: number) {
    this.kind = kind;
    this.name = name;
    this.code = code;
    Object.freeze(this);
  }
}

/** What an XDP program can do with a frame (`enum xdp_action`, linux/bpf.h). */
export type XdpAction = Action<'XDP', keyof typeof XdpActionCode>;

const xdpAction = (name: keyof typeof XdpActionCode): XdpAction => new Action('XDP', name, XdpActionCode[name]);

/** REDIRECT sends where a redirecting helper said; return what the helper returned, which tells failures too. */
export const XDP = watched('XDP', {
  ABORTED: xdpAction('ABORTED'),
  DROP: xdpAction('DROP'),
  PASS: xdpAction('PASS'),
  TX: xdpAction('TX'),
  REDIRECT: xdpAction('REDIRECT'),
} as const);

/** What an XDP program returns: an action, or one that was computed. */
export type XdpVerdict = XdpAction | Int<32>;

/** The verdicts of traffic control (`TC_ACT_*`, linux/pkt_cls.h). */
export type TcAction = Action<'TC', 'UNSPEC' | 'OK' | 'SHOT' | 'REDIRECT'>;

const tcAction = (name: TcAction['name'], code: number): TcAction => new Action('TC', name, code);

/** UNSPEC leaves the packet to the programs that come after, and to the stack; REDIRECT sends where a redirecting helper said. */
export const TC = watched('TC', {
  UNSPEC: tcAction('UNSPEC', -1),
  OK: tcAction('OK', 0),
  SHOT: tcAction('SHOT', 2),
  REDIRECT: tcAction('REDIRECT', 7),
} as const);

/** What a traffic-control program returns: an action, or one that was computed. */
export type TcVerdict = TcAction | Int<32>;

/** Leaves a program of this kind with a verdict. @throws DslError for any other value. */
export function leaveWith(emitter: Emitter, kind: 'XDP' | 'TC', verdict: unknown): void {
  if (verdict instanceof Action && verdict.kind === kind) {
    emitter.exit(BigInt(verdict.code), `${kind === 'TC' ? 'TC_ACT' : kind}_${verdict.name}`);
    return;
  }
  if (verdict instanceof Int && verdict.width === 32) {
    emitter.exit(verdict.operandIn(emitter));
    return;
  }
  throw new DslError(
    `return from block: ${shown(verdict)} is not a verdict of this program; return one of ${kind}, or an Int of 32 bits`,
    new CallSite().location,
  );
}

function shown(value: unknown): string {
  if (value instanceof Action) return `${value.kind}.${value.name}`;
  if (value instanceof Int) return `an Int of ${String(value.width)} bits`;
  return typeof value === 'number' ? String(value) : `a value of type ${typeof value}`;
}
