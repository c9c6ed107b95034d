import { Linkage } from '../btf/btf.ts';
import { type Backend, type CompiledCode, compileFunctions, dumpSteps } from '../ir/compile.ts';
import type { FunctionCache } from '../ir/function-cache.ts';
import type { IrFunction } from '../ir/ir.ts';
import { checkIdentifier } from '../identifier.ts';
import { ProgramType } from '../uapi/constants.gen.ts';
import { leaveWith, type TcVerdict, type XdpVerdict } from './action.ts';
import { BuilderCore } from './blocks.ts';
import { finishBody } from './build-function.ts';
import { Builder } from './builder.ts';
import { whileBuilding } from './dropped-verdict.ts';
import { type ContextLayout, Emitter, type ProgramContext } from './emitter.ts';
import type { MapSpec } from './map.ts';
import type { Exited } from './exited.ts';
import { SKB_CONTEXT, TcPacket, XDP_CONTEXT, XdpPacket } from './packet-kinds.ts';

/** The builder of an XDP program. */
export type XdpBuilder = Builder<XdpVerdict>;

/** A program as plain data: not compiled, not loaded. */
export interface ProgramSpec {
  readonly name: string;
  readonly type: number;
  readonly license: string;
  /** Flags of BPF_PROG_LOAD (linux/bpf.h). */
  readonly flags: number;
  /** The main function first. */
  readonly functions: readonly IrFunction[];
  readonly maps: readonly MapSpec[];
}

export const LICENSE = 'Dual MIT/GPL';

/** BPF_F_XDP_HAS_FRAGS (linux/bpf.h). */
export const XDP_HAS_FRAGS = 1 << 5;

export interface XdpOptions {
  /**
   * Takes frames of several buffers too (BPF_F_XDP_HAS_FRAGS, Linux 5.18), without which drivers refuse the program at a large MTU. The packet's
   * cursor reaches the first buffer alone; the helpers `xdp_get_buff_len`, `xdp_load_bytes` and `xdp_store_bytes` reach the whole frame.
   */
  readonly frags?: boolean;
}

/** The builder of a traffic-control program. */
export type TcBuilder = Builder<TcVerdict>;

/** What sets the kinds of program apart. */
interface Kind<R, P> {
  readonly type: number;
  readonly verdicts: 'XDP' | 'TC';
  readonly layout: ContextLayout;
  readonly packet: new (core: BuilderCore<R>, context: number) => P;
}

const XDP_KIND: Kind<XdpVerdict, XdpPacket> = {
  type: ProgramType.XDP,
  verdicts: 'XDP',
  layout: XDP_CONTEXT,
  packet: XdpPacket,
};
const TC_KIND: Kind<TcVerdict, TcPacket> = {
  type: ProgramType.SCHED_CLS,
  verdicts: 'TC',
  layout: SKB_CONTEXT,
  packet: TcPacket,
};

function program<R, P>(
  name: string,
  { type, verdicts, layout, packet: PacketOfKind }: Kind<R, P>,
  body: ($: Builder<R>, packet: P) => R | Exited,
  flags = 0,
): ProgramSpec {
  checkIdentifier('program', name);
  const context: ProgramContext = { layout, functions: new Map(), maps: new Map() };
  const signature = { parameters: [{ context: 'any' }], result: 4, linkage: Linkage.GLOBAL } as const;
  const emitter = new Emitter(name, signature, context);
  const core = new BuilderCore<R>(emitter, (verdict) => {
    leaveWith(emitter, verdicts, verdict);
  });
  const packet = new PacketOfKind(core, emitter.fn.params[0]!);
  finishBody(
    core,
    whileBuilding(() => body(new Builder(core), packet)),
    name,
  );
  return Object.freeze({
    name,
    type,
    license: LICENSE,
    flags,
    functions: [emitter.fn, ...[...context.functions.values()].map(({ ir }) => ir)],
    maps: [...context.maps.values()],
  });
}

/** Writes an XDP program: runs `body` once, now, which emits the instructions. @throws DslError at the author's line. */
export function xdp(
  name: string,
  body: ($: XdpBuilder, packet: XdpPacket) => XdpVerdict | Exited,
  { frags = false }: XdpOptions = {},
): ProgramSpec {
  return program(name, XDP_KIND, body, frags ? XDP_HAS_FRAGS : 0);
}

/** Writes a traffic-control program (`BPF_PROG_TYPE_SCHED_CLS`), as `xdp` writes an XDP program. */
export function tc(name: string, body: ($: TcBuilder, packet: TcPacket) => TcVerdict | Exited): ProgramSpec {
  return program(name, TC_KIND, body);
}

const compiled = new WeakMap<ProgramSpec, CompiledCode>();

/** Compiles a program to instructions, of functions that were compiled before where they are the same but for numbers. */
export function compileWith(cache: FunctionCache, { functions }: ProgramSpec): CompiledCode {
  return compileFunctions(functions, 'optimizing', cache);
}

/** Compiles a program to instructions, once. */
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
