import { type Backend, type CompiledCode, compileFunctions, dumpSteps } from '../ir/compile.ts';
import type { IrFunction, Operand } from '../ir/ir.ts';
import { ProgramType, XdpActionCode } from '../uapi/constants.gen.ts';
import { BuilderCore } from './blocks.ts';
import { Builder } from './builder.ts';
import { Emitter, type ProgramContext } from './emitter.ts';
import { finishBody } from './func.ts';
import { Int } from './int.ts';
import type { MapSpec } from './map.ts';
import type { Exited } from './maybe.ts';
import { Packet } from './packet.ts';

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

/** Writes an XDP program: runs `body` once, now, which emits the instructions. @throws DslError at the author's line. */
export function xdp(name: string, body: ($: XdpBuilder, packet: XdpPacket) => XdpVerdict | Exited): ProgramSpec {
  const context: ProgramContext = { functions: new Map(), maps: new Map() };
  const emitter = new Emitter(name, 1, context);
  const core = new BuilderCore<XdpVerdict>(emitter, (verdict): { operand: Operand; note?: string } =>
    verdict instanceof Int
      ? { operand: verdict.operandIn(emitter) }
      : { operand: BigInt(verdict.code), note: `XDP_${verdict.name}` },
  );
  const packet = new Packet(core, emitter.fn.params[0]!);
  finishBody(core, body(new Builder(core), packet), name);
  return Object.freeze({
    name,
    type: ProgramType.XDP,
    license: LICENSE,
    functions: [emitter.fn, ...context.functions.values()],
    maps: [...context.maps.values()],
  });
}

/** Compiles a program to instructions. */
export function compile({ functions }: ProgramSpec, backend: Backend = 'optimizing'): CompiledCode {
  return compileFunctions(functions, backend);
}

/** The program as text at each step of compilation. */
export function dump({ functions }: ProgramSpec): { ir: string; optimized: string; bytecode: string } {
  return dumpSteps(functions);
}
