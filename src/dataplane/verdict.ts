import { func, type Func, XDP, type XdpAction, type XdpBuilder } from '../ebpf/language.ts';
import type { ProtectionMaps } from './maps.ts';
import { reasonOf, reasons, type ReasonName } from './reason.ts';

/** Ends a path: counts the reason, and gives the action that goes with it. */
export type Leave = (reason: ReasonName) => XdpAction;

function counting({ counters }: ProtectionMaps): Func<readonly [32], 32> {
  return func('count', [32], 32, ($, index) => {
    const counter = $.lookup(counters, index).orExit(0);
    counter.ref('value').add(1);
    return 0;
  });
}

/** In a dry run nothing is dropped, and what would have been is counted apart. */
export function leaving($: XdpBuilder, maps: ProtectionMaps, dryRun: boolean): Leave {
  const count = counting(maps);
  return (name) => {
    const { index, verdict } = reasonOf(name);
    const spared = dryRun && verdict === 'drop';
    $.invoke(count, spared ? index + reasons.length : index);
    return verdict === 'drop' && !dryRun ? XDP.DROP : XDP.PASS;
  };
}
