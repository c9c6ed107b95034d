import { Linkage } from '../btf/btf.ts';
import { type Backend, type CompiledCode, compileFunctions, dumpSteps } from '../ir/compile.ts';
import type { IrFunction } from '../ir/ir.ts';
import { ProgramType, XdpActionCode } from '../uapi/constants.gen.ts';
import { BuilderCore } from './blocks.ts';
import { Builder } from './builder.ts';
import { type ContextLayout, Emitter, type ProgramContext } from './emitter.ts';
import { finishBody } from './func.ts';
import { Int } from './int.ts';
import type { MapSpec } from './map.ts';
import type { Exited } from './exited.ts';
import { Packet, SKB_CONTEXT, XDP_CONTEXT } from './packet.ts';

/** What an XDP program can do with a frame (`enum xdp_action`, linux/bpf.h). */
export interface XdpAction {
  readonly kind: 'xdp-action';
  readonly name: keyof typeof XdpActionCode;
  readonly code: number;
}

function action(name: keyof typeof XdpActionCode): XdpAction {
  return Object.freeze({ kind: 'xdp-action', name, code: XdpActionCode[name] });
}

export const XDP = {
  ABORTED: action('ABORTED'),
  DROP: action('DROP'),
  PASS: action('PASS'),
  TX: action('TX'),
  REDIRECT: action('REDIRECT'),
} as const;

/** What an XDP program returns: an action, or one that was computed. */
export type XdpVerdict = XdpAction | Int<32>;

/** The builder of an XDP program. */
export type XdpBuilder = Builder<XdpVerdict>;
export type XdpPacket = Packet<XdpVerdict>;

/** A program as plain data: not compiled, not loaded. */
export interface ProgramSpec {
  readonly name: string;
  readonly type: number;
  readonly license: string;
  /** The main function first. */
  readonly functions: readonly IrFunction[];
  readonly maps: readonly MapSpec[];
}

export const LICENSE = 'Dual MIT/GPL';

/** What a traffic-control program can say of a packet (linux/pkt_cls.h). */
export interface TcAction {
  readonly kind: 'tc-action';
  readonly name: 'UNSPEC' | 'OK' | 'SHOT';
  readonly code: number;
}

/** UNSPEC leaves the packet to the programs that come after, and to the stack. */
export const TC = {
  UNSPEC: Object.freeze({ kind: 'tc-action', name: 'UNSPEC', code: -1 } as const),
  OK: Object.freeze({ kind: 'tc-action', name: 'OK', code: 0 } as const),
  SHOT: Object.freeze({ kind: 'tc-action', name: 'SHOT', code: 2 } as const),
} as const;

/** The builder of a traffic-control program. */
export type TcBuilder = Builder<TcAction>;
export type TcPacket = Packet<TcAction>;

interface Action {
  readonly name: string;
  readonly code: number;
}

function program<R extends Action | Int<32>>(
  name: string,
  type: number,
  prefix: string,
  layout: ContextLayout,
  body: ($: Builder<R>, packet: Packet<R>) => R | Exited,
): ProgramSpec {
  const context: ProgramContext = { layout, functions: new Map(), maps: new Map() };
  const signature = { parameters: [{ context: 'any' }], result: 4, linkage: Linkage.GLOBAL } as const;
  const emitter = new Emitter(name, signature, context);
  const core = new BuilderCore<R>(emitter, (verdict) => {
    if (verdict instanceof Int) emitter.exit(verdict.operandIn(emitter));
    else emitter.exit(BigInt(verdict.code), `${prefix}_${verdict.name}`);
  });
  const packet = new Packet(core, emitter.fn.params[0]!);
  finishBody(core, body(new Builder(core), packet), name);
  return Object.freeze({
    name,
    type,
    license: LICENSE,
    functions: [emitter.fn, ...[...context.functions.values()].map(({ ir }) => ir)],
    maps: [...context.maps.values()],
  });
}

/** Writes an XDP program: runs `body` once, now, which emits the instructions. @throws DslError at the author's line. */
export function xdp(name: string, body: ($: XdpBuilder, packet: XdpPacket) => XdpVerdict | Exited): ProgramSpec {
  return program<XdpVerdict>(name, ProgramType.XDP, 'XDP', XDP_CONTEXT, body);
}

/** Writes a traffic-control program (`BPF_PROG_TYPE_SCHED_CLS`), as `xdp` writes an XDP program. */
export function tc(name: string, body: ($: TcBuilder, packet: TcPacket) => TcAction | Exited): ProgramSpec {
  return program<TcAction>(name, ProgramType.SCHED_CLS, 'TC_ACT', SKB_CONTEXT, body);
}

const compiled = new WeakMap<ProgramSpec, CompiledCode>();

/** Compiles a program to instructions; what was compiled once is not compiled again. */
export function compile(spec: ProgramSpec, backend: Backend = 'optimizing'): CompiledCode {
  if (backend !== 'optimizing') return compileFunctions(spec.functions, backend);
  const known = compiled.get(spec) ?? compileFunctions(spec.functions, backend);
  compiled.set(spec, known);
  return known;
}

/** The program as text at each step of compilation. */
export function dump({ functions }: ProgramSpec): { ir: string; optimized: string; bytecode: string } {
  return dumpSteps(functions);
}
