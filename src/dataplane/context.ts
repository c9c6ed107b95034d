import { DslError, type Int, type XdpAction, type XdpBuilder, type XdpPacket } from '../ebpf/language.ts';
import type { Policy } from '../policy/policy.ts';
import type { Challenger } from './cookie/challenger.ts';
import type { Segment } from './frame/parse.ts';
import { type EventMaps, emitEvent } from './outcome/events.ts';
import type { CounterMaps, Exits } from './outcome/exits.ts';
import type { Reason } from './outcome/verdict.ts';
import { type Clock, coarseSuffices } from './state/clock.ts';
import type { Connections } from './state/connections.ts';
import { NO_SERVICE } from './state/service-policy.ts';

/** A value that a stage hands to later ones. */
export interface HandOver<T> {
  readonly what: string;
  /** Never there: it holds the type. */
  readonly type?: T;
}

export function handOver<T>(what: string): HandOver<T> {
  return Object.freeze({ what });
}

/** A source's cell before and after this SYN, in ticks; 0 where its bucket was not asked. */
export interface Cell {
  readonly before: Int<32>;
  readonly after: Int<32>;
}

/** The parts of the context that are the same on every path of a program. */
export interface Common {
  readonly policy: Policy;
  readonly maps: EventMaps & CounterMaps;
  readonly clock: Clock;
  /** How SYNs can be challenged; they are not where this is left out. */
  readonly challenger: Challenger | undefined;
  /** What can be looked up of this host's connections; nothing where this is left out. */
  readonly connections: Connections | undefined;
  readonly exits: Exits;
}

/** The context of a stage, beside the segment: its exits, and the values of earlier stages. One for each path of the program. */
export class Context<Maps = unknown, Reads = Policy> {
  readonly policy: Reads;
  readonly maps: Maps;
  readonly packet: XdpPacket;
  readonly clock: Clock;
  readonly challenger: Challenger | undefined;
  readonly connections: Connections | undefined;
  readonly dryRun: boolean;
  readonly #common: Common;
  readonly #builder: XdpBuilder;
  readonly #segment: Segment;
  readonly #given = new Map<HandOver<unknown>, unknown>();
  /** The cell of a source that was not asked. */
  readonly #notAsked: Cell;
  #service: Int<32>;
  #row: Int<32>;
  #now: Int<64> | undefined;

  constructor($: XdpBuilder, packet: XdpPacket, segment: Segment, common: Common) {
    this.policy = common.policy as Reads;
    this.maps = common.maps as Maps;
    this.packet = packet;
    this.clock = common.clock;
    this.challenger = common.challenger;
    this.connections = common.connections;
    this.dryRun = common.policy.dryRun;
    this.#common = common;
    this.#builder = $;
    this.#segment = segment;
    const zero = $.u32(0);
    this.#notAsked = { before: zero, after: zero };
    this.#service = $.u32(NO_SERVICE);
    this.#row = zero;
  }

  /** Hands a value to the stages after this one. */
  give<T>(what: HandOver<T>, value: T): void {
    this.#given.set(what, value);
  }

  /** A value from an earlier stage. @throws DslError if none gave it. */
  take<T>(what: HandOver<T>): T {
    if (!this.#given.has(what))
      throw new DslError(
        `build the pipeline: no stage before this one gives ${what.what}; change the order of its list`,
      );
    return this.#given.get(what) as T;
  }

  /** From here on frames are for this service: they are counted and told of as its own. */
  enterService(index: Int<32>): void {
    this.#service = index;
    this.#row = this.#common.exits.row(index);
  }

  /** Frames that end in `body` are for this service. */
  inService<T>(index: Int<32>, body: () => T): T {
    const [service, row] = [this.#service, this.#row];
    this.enterService(index);
    const result = body();
    this.#service = service;
    this.#row = row;
    return result;
  }

  /** The time in nanoseconds, read where it is first asked for; as coarse as the limits allow. */
  get now(): Int<64> {
    const { clock, policy } = this.#common;
    this.#now ??= coarseSuffices(policy) ? clock.coarse(this.#builder) : clock.exact(this.#builder);
    return this.#now;
  }

  /** Ends a path for a reason: counts it, and gives the action that goes with it. */
  leave(reason: Reason): XdpAction {
    return this.#common.exits.leave(reason, this.#row);
  }

  /** The same, and tells readers of the SYN. */
  end(reason: Reason, cell?: Cell): XdpAction {
    this.tell(this.#builder.u32(reason.number), cell);
    return this.leave(reason);
  }

  /** Drops for one of several reasons, by its number, and tells readers of the SYN. */
  drop(reason: Int<32>, cell?: Cell): XdpAction {
    this.tell(reason, cell);
    return this.#common.exits.drop(reason, this.#row);
  }

  /** Emits an event for the SYN. */
  tell(reason: Int<32>, { before, after } = this.#notAsked): void {
    const { exits, maps, policy, clock } = this.#common;
    const service = this.#service;
    exits.writeDown({ service, before, after });
    emitEvent(this.#builder, maps, this.#segment, policy.events, clock, { reason, service, before, after });
  }
}
