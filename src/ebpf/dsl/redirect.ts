/** Verdicts that send packets elsewhere: bpf_redirect and bpf_redirect_map. */
import type { Type } from '../btf/type.ts';
import { DslError } from '../errors.ts';
import { CallSite } from '../source-location.ts';
import { helpers } from '../uapi/helpers.gen.ts';
import { XdpActionCode } from '../uapi/constants.gen.ts';
import { Action, type XdpAction } from './action.ts';
import { refuseDroppedCall } from './dropped-verdict.ts';
import type { Emitter } from './emitter.ts';
import { Int } from './int.ts';
import { type KindsFor, requireKind } from './map-kind.ts';
import type { MapSpec } from './map.ts';

type RedirectMap = MapSpec<Type, Type, KindsFor<'redirect into'>>;

type ByMap = readonly [map: RedirectMap, key: Int<32> | number, otherwise: XdpAction];

/** Where a packet goes: by a map, or to an interface. */
export type RedirectTarget = ByMap | readonly [ifindex: Int<32> | number, options?: { readonly ingress: boolean }];

/** BPF_F_INGRESS (linux/bpf.h). */
const INGRESS = 1n;

const isMap = (to: RedirectTarget): to is ByMap => typeof to[0] === 'object' && !(to[0] instanceof Int);

function refuse(what: string, why: string): never {
  throw new DslError(`redirect ${what}: ${why}`, new CallSite().location);
}

/** Emits the call. @throws DslError for what this kind of program cannot do. */
export function emitRedirect(emitter: Emitter, to: RedirectTarget): Int<32> {
  refuseDroppedCall('$.redirect');
  const isXdp = emitter.context.layout.type === 'xdp_md';
  const value = (of: Int<32> | number) => (of instanceof Int ? of.operandIn(emitter) : BigInt(of));
  const dst = emitter.vreg();
  if (isMap(to)) {
    const [map, key, otherwise] = to;
    requireKind(map, 'redirect into');
    if (!isXdp) refuse(`into ${map.name}`, 'only XDP programs can; give the index of an interface');
    // The kernel takes two bits of an action (__bpf_xdp_redirect_map, include/linux/filter.h).
    if (!(otherwise instanceof Action) || otherwise.kind !== 'XDP' || otherwise.code === XdpActionCode.REDIRECT) {
      refuse(`into ${map.name}`, 'where there is nothing under the key the verdict is XDP.PASS, DROP, TX or ABORTED');
    }
    const args = [emitter.mapPointer(map), value(key), BigInt(otherwise.code)];
    emitter.emit({ op: 'call', helper: helpers.redirect_map.id, args, dst, note: `redirect into ${map.name}` });
  } else {
    const [ifindex, { ingress = false } = {}] = to;
    if (isXdp && ingress) refuse('to ingress', 'only programs of traffic control can');
    const args = [value(ifindex), ingress ? INGRESS : 0n];
    emitter.emit({ op: 'call', helper: helpers.redirect.id, args, dst, note: 'redirect' });
  }
  return new Int(emitter, 64, dst).u32();
}
