/**
 * The contract of a stage: a stage is one value in one file under stages/. The list in pipeline.ts orders the stages; program, explain, self-test,
 * reasons, maps and documents fold over that list.
 */
import type { Exited, XdpAction, XdpBuilder } from '../ebpf/language.ts';
import type { NetworkList } from '../net/network-list.ts';
import type { ParsedFrame } from '../net/parse.ts';
import type { Policy, Service } from '../policy/policy.ts';
import type { Context } from './context.ts';
import type { Segment } from './frame/parse.ts';
import type { MapGroup, MapsOf } from './maps.ts';
import { defineReasons, type ReasonDefinition, type Reasons } from './outcome/verdict.ts';

/** A frame with the same verdict under every policy, and what it shows. */
export interface CannedFrame {
  readonly shows: string;
  readonly data: Uint8Array;
  readonly verdict: 'pass' | 'drop';
  /** The counter that it raises: user space subtracts it again. */
  readonly reason: string;
}

/** What `explain` knows of a frame: the policy, the parsed packet, and what the program said of it. */
export interface Explained {
  readonly policy: Policy;
  readonly frame: ParsedFrame;
  /** Bytes of the frame. */
  readonly length: number;
  /** The networks on the lists, those of files included. */
  readonly lists: { readonly allow: NetworkList; readonly deny: NetworkList };
  /** The service that it is for, if any. */
  readonly service: Service | undefined;
  /** Tokens of its source before and after. */
  readonly tokens: { readonly before: number; readonly after: number } | undefined;
  /** The frame that is sent back. */
  readonly reply: Buffer | undefined;
}

/** The definition of a stage, before the types of its reasons, maps and policy are fixed. */
interface Definition<Name extends string, Groups extends readonly MapGroup[], Keys extends keyof Policy> {
  readonly name: string;
  /** Its decision, in one or two sentences for the table of decisions. */
  readonly decides: string;
  /** Why a frame can end here. `outcome/verdict.ts` says how a new reason takes its number. */
  readonly reasons: Readonly<Record<Name, ReasonDefinition>>;
  /** The maps that it uses. */
  readonly maps: Groups;
  /** The part of the policy that it reads. */
  readonly reads: readonly Keys[];
  /** Emits the stage: leaves with a reason, or falls through to the next one. Absent in `parse`, which makes the segment that the others judge. */
  build?(
    $: XdpBuilder,
    segment: Segment,
    context: Context<MapsOf<Groups>, Pick<Policy, Keys>>,
  ): XdpAction | Exited | void;
  /** The values that it looks at, in one line. A pure function. */
  explain(given: Explained): string;
  /** Frames for the self-test of every program. */
  readonly canned?: readonly CannedFrame[];
}

export interface Stage<
  Name extends string = string,
  Groups extends readonly MapGroup[] = readonly MapGroup[],
  Keys extends keyof Policy = keyof Policy,
> extends Omit<Definition<Name, Groups, Keys>, 'reasons'> {
  readonly reasons: Reasons<Name>;
}

/** Any stage, for what folds over them. */
export type AnyStage = Omit<Stage, 'build'> & {
  build?($: XdpBuilder, segment: Segment, context: Context<never, never>): XdpAction | Exited | void;
};

/** Makes a stage; what `build` may use follows from `reasons`, `maps` and `reads`. */
export function stage<
  const Name extends string,
  const Groups extends readonly MapGroup[],
  const Keys extends keyof Policy,
>(definition: Definition<Name, Groups, Keys>): Stage<Name, Groups, Keys> {
  return Object.freeze({ ...definition, reasons: defineReasons(definition.reasons) });
}
