/** The list of decisions, in order, and the programs that follow from it. */
import {
  DslError,
  type Exited,
  type Int,
  type ProgramSpec,
  xdp,
  type XdpAction,
  type XdpBuilder,
  type XdpPacket,
} from '../ebpf/language.ts';
import type { Policy } from '../policy/policy.ts';
import { acceptProgram, hasAcceptProgram } from './accept.ts';
import { type Common, Context } from './context.ts';
import { type Challenger, type Form, formsIn } from './cookie/challenger.ts';
import { Address } from './frame/address.ts';
import { byFamily, type LinkKind, parseLink } from './frame/link.ts';
import type { ParseReason } from './frame/leave.ts';
import { parseSegment, type Segment } from './frame/parse.ts';
import { type ListCapacity, type MapContents, type MapGroup, type MapsOf, type Settings, SMALL_LISTS } from './maps.ts';
import { eventGroup } from './outcome/events.ts';
import { counterGroup, Exits } from './outcome/exits.ts';
import type { AnyStage } from './stage.ts';
import { challenge } from './stages/challenge.ts';
import { flags } from './stages/flags.ts';
import { limits } from './stages/limits.ts';
import { lists } from './stages/lists.ts';
import { parse } from './stages/parse.ts';
import { pressure } from './stages/pressure.ts';
import { sanity } from './stages/sanity.ts';
import { service } from './stages/service.ts';
import { state } from './stages/state.ts';
import { verified } from './stages/verified.ts';
import { type Clock, kernelClock } from './state/clock.ts';
import type { Connections } from './state/connections.ts';

/** What decides on a frame, in order; the first that fits ends it. */
export const stages = [parse, state, flags, lists, service, sanity, verified, pressure, limits, challenge] as const;

/** What the surroundings of a program decide, beside the policy. */
export interface Surroundings {
  readonly clock?: Clock;
  readonly lists?: ListCapacity;
  /** What frames begin with; Ethernet where this is left out. */
  readonly link?: LinkKind;
  /** How SYNs can be challenged here; they are not where this is left out. */
  readonly challenger?: Challenger | undefined;
  /** What can be looked up of this host's connections; strays are not looked for where this is left out. */
  readonly connections?: Connections | undefined;
  /** Writes each frame's outcome down, for replay. */
  readonly outcome?: boolean;
  /** For benchmarks, which run one frame again and again: what happens before it is judged, and whose it is. */
  readonly rehearsal?: Rehearsal;
}

export interface Rehearsal {
  readonly prepare?: ($: XdpBuilder, packet: XdpPacket) => void;
  /** The source in place of an IPv4 frame's: the word of an address. */
  readonly source?: ($: XdpBuilder) => readonly Int<64>[];
}

/** Counters and events, which every stage has. */
const common = [counterGroup, eventGroup] as const;

/** The maps of one protected interface. */
export type ProtectionMaps = MapsOf<(typeof stages)[number]['maps']> & MapsOf<typeof common>;

function groups(): MapGroup[] {
  const all: MapGroup[] = [...common];
  for (const { maps } of stages as readonly AnyStage[]) all.push(...maps);
  return [...new Set(all)];
}

export function protectionMaps(policy: Policy, lists: ListCapacity): ProtectionMaps {
  return Object.assign({}, ...groups().map((group) => group.specs({ policy, lists }))) as ProtectionMaps;
}

/** The maps whose contents follow from the policy, with these contents. */
export function mapContents(maps: ProtectionMaps, policy: Policy, lists = SMALL_LISTS): readonly MapContents[] {
  const given: Settings = { policy, lists };
  return groups().flatMap((group) => group.contents?.(maps, given) ?? []);
}

/** Generates a protection's programs, anew each time. */
export interface Writers {
  readonly program: () => ProgramSpec;
  readonly accept?: () => ProgramSpec;
}

/** A protection as plain data: the programs, each generated when it is first asked for, and the maps they share with user space. */
export interface Protection {
  readonly policy: Policy;
  readonly link: LinkKind;
  readonly write: Writers;
  readonly program: ProgramSpec;
  /** The half that works in traffic control, where the forms have one. */
  readonly accept: ProgramSpec | undefined;
  readonly challenger: Challenger | undefined;
  /** The forms of challenge that the programs hold. */
  readonly forms: readonly Form[];
  readonly maps: ProtectionMaps;
  /** The same for protections whose programs are the same; absent where that cannot be told. */
  readonly key: string | undefined;
}

/** Generates the programs for a policy. */
export function protection(
  policy: Policy,
  {
    clock = kernelClock,
    lists: room = SMALL_LISTS,
    link = 'ethernet',
    challenger: able,
    connections,
    outcome = false,
    rehearsal = {},
  }: Surroundings = {},
): Protection {
  const challenger = policy.services.some((one) => one.challenge !== 'off') ? able : undefined;
  const maps = protectionMaps(policy, room);
  const program = (): ProgramSpec =>
    xdp('seawall', ($, packet) => {
      const exits = new Exits($, maps, policy.dryRun, outcome);
      const leave = (name: ParseReason): XdpAction => exits.leave(parse.reasons[name]);
      rehearsal.prepare?.($, packet);
      const below = parseLink($, packet, leave, link);
      return byFamily($, below, leave, (family) => {
        const segment = parseSegment($, packet, family, below, leave, {
          fragments: policy.fragments,
          lengths: 'check',
        });
        const forged = family === 4 ? rehearsal.source?.($).map((word) => $.let(word)) : undefined;
        const judged = forged ? { ...segment, source: new Address(4, () => forged) } : segment;
        return judge($, packet, judged, { policy, maps, exits, clock, challenger, connections });
      });
    });
  const forms = challenger ? formsIn(policy, challenger) : [];
  const accept =
    challenger && hasAcceptProgram(forms, challenger.stack)
      ? (): ProgramSpec => acceptProgram(policy, maps, clock, { stack: challenger.stack, link, forms })
      : undefined;
  const first = { program: once(program), accept: accept && once(accept) };
  const known = clock.key === undefined || rehearsal.prepare || rehearsal.source ? undefined : clock.key;
  return {
    policy,
    link,
    write: { program, ...(accept ? { accept } : {}) },
    get program() {
      return first.program();
    },
    get accept() {
      return first.accept?.();
    },
    challenger,
    forms,
    maps,
    key:
      known === undefined
        ? undefined
        : keyOf(policy, { lists: room, link, challenger, connections, outcome, clock: known }),
  };
}

/** Runs at most once, when it is asked for. */
function once<T>(make: () => T): () => T {
  let made: { readonly it: T } | undefined;
  return () => (made ??= { it: make() }).it;
}

/** Everything that determines the programs, as text. The contents of lists do not. */
function keyOf({ lists: _lists, ...policy }: Policy, surroundings: object): string {
  return JSON.stringify([policy, surroundings], (_name, value: unknown) => {
    if (typeof value === 'bigint') return `${String(value)}n`;
    return value instanceof Set || value instanceof Map ? [...value] : value;
  });
}

/** One stage after the other; the last one leaves on every path. */
function judge($: XdpBuilder, packet: XdpPacket, segment: Segment, given: Common): XdpAction | Exited {
  const context = new Context<never, never>($, packet, segment, given);
  let end: XdpAction | Exited | void = undefined;
  for (const stage of stages as readonly AnyStage[]) end = stage.build?.($, segment, context);
  if (!end) throw new DslError('build the pipeline: its last stage falls through; it has to leave with a reason');
  return end;
}
