/** Calls of the kernel's helpers and functions by their names. */
import type { Type } from '../btf/type.ts';
import { DslError } from '../errors.ts';
import type { Operand } from '../ir/ir.ts';
import { CallSite } from '../source-location.ts';
import type { ArgumentKind } from '../uapi/helper-prototype.ts';
import { helpers } from '../uapi/helpers.gen.ts';
import { changesPacket, kernelFunctionChangesPacket } from './changes-packet.ts';
import type { Emitter } from './emitter.ts';
import type { ContextValue, HelperName } from './helper-arguments.ts';
import { Int } from './int.ts';
import { HELPER_OPERATIONS, type KindsFor, type MapOperation, requireKind } from './map-kind.ts';
import type { MapSpec } from './map.ts';
import { addressRegister } from './memory.ts';
import type { SocketPointer } from './socket.ts';
import { memoryOf } from './view.ts';

export function emitCall(emitter: Emitter, name: HelperName, args: readonly unknown[]): Int<64> {
  if (!(name in helpers)) {
    const short = (name as string).replace(/^bpf_/, '');
    const advice = short in helpers ? `write ${short}, without bpf_` : 'take one of linux/bpf.h, without bpf_';
    throw new DslError(`call ${name}: no helper has this name; ${advice}`, new CallSite().location);
  }
  const { id, args: kinds, returns } = helpers[name];
  if (returns === 'pointer') {
    throw new DslError(`call ${name}: it returns a pointer; use the method made for it`, new CallSite().location);
  }
  const operation = (HELPER_OPERATIONS as Partial<Record<HelperName, MapOperation>>)[name];
  if (operation) requireKind(args[kinds.indexOf('map' as never)] as MapSpec, operation);
  const operands = (kinds as readonly ArgumentKind[]).map((kind, index) => argument(emitter, kind, args[index]));
  const dst = emitter.vreg();
  emitter.emit({ op: 'call', helper: id, args: operands, dst, note: name });
  if (changesPacket(name)) emitter.voidPackets();
  return new Int(emitter, 64, dst);
}

function argument(emitter: Emitter, kind: ArgumentKind, value: unknown): Operand {
  switch (kind) {
    case 'ctx':
      return (value as ContextValue).context;
    case 'map':
      return emitter.mapPointer(value as MapSpec);
    case 'pointer':
      if ('socket' in (value as object)) return (value as SocketPointer).socket;
      return addressRegister(memoryOf(value as object));
    case 'scalar':
      return value instanceof Int ? value.operandIn(emitter) : BigInt.asUintN(64, BigInt(value as number));
  }
}

/** An argument of a kernel function: a number, the context, a socket, or memory by its view. */
export type KernelArgument = ContextValue | SocketPointer | Int | number | object;

export function emitKernelCall(emitter: Emitter, name: string, args: readonly KernelArgument[]): Int<32> {
  const operands = args.map((value): Operand => {
    if (value instanceof Int) return value.operandIn(emitter);
    if (typeof value === 'number') return BigInt(value);
    if ('context' in value) return value.context;
    if ('socket' in value) return value.socket;
    return addressRegister(memoryOf(value));
  });
  const dst = emitter.vreg();
  emitter.emit({ op: 'kernelCall', name, args: operands, dst, note: name });
  if (kernelFunctionChangesPacket(name)) emitter.voidPackets();
  return new Int(emitter, 64, dst).u32();
}

export function emitTailCall(
  emitter: Emitter,
  programs: MapSpec<Type, Type, KindsFor<'tail call through'>>,
  { context }: ContextValue,
  index: Int<32> | number,
): void {
  requireKind(programs, 'tail call through');
  const operand = index instanceof Int ? index.operandIn(emitter) : BigInt(index);
  const args = [context, emitter.mapPointer(programs), operand];
  emitter.emit({ op: 'call', helper: helpers.tail_call.id, args, note: `tail call ${programs.name}` });
  emitter.voidPackets();
}
