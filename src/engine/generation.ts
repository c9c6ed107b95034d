import type { Program } from '../ebpf/index.ts';
import { type Protection, protection } from '../dataplane/pipeline.ts';
import type { Policy } from '../policy/policy.ts';
import { settleChallenger } from './challenger.ts';
import { settleConnections } from './connections.ts';
import { hostClock } from './host-clock.ts';
import { keepKernelFunctions, recallKernelFunctions } from './kernel-functions.ts';
import { type FindMap, KernelMaps } from './kernel-maps.ts';
import { linkKindOf } from './link.ts';
import { listCapacity, LiveLists, readLists, type SourceLists } from './lists/lists.ts';
import { loadPrograms } from './load-programs.ts';
import { Owned } from './owned.ts';
import { type CountTested, selfTest } from './self-test.ts';

/** A generation as plain data: everything is decided and nothing is in the kernel. */
export interface Plan {
  readonly protection: Protection;
  readonly lists: SourceLists;
  /** Which form of challenge was taken, and why. */
  readonly note: string;
}

/** Plans a policy's programs for an interface of this network namespace. @throws PolicyError, UnsupportedError. */
export function planGeneration(interfaceName: string, policy: Policy): Plan {
  recallKernelFunctions();
  const link = linkKindOf(interfaceName);
  const lists = readLists(policy);
  const { challenger, note } = settleChallenger(policy, interfaceName);
  const connections = settleConnections(policy);
  return {
    protection: protection(policy, {
      clock: hostClock(),
      lists: listCapacity(lists),
      link,
      challenger,
      connections,
    }),
    lists,
    note: connections
      ? note
      : `${note}; strays are not looked for: this kernel cannot be asked for translated connections`,
  };
}

/** What protects an interface from one change of its policy to the next: a policy, its maps in the kernel, its lists and its programs. */
export class Generation implements Disposable {
  /** The policy changes where only its lists do. */
  protection: Protection;
  readonly note: string;
  readonly maps: KernelMaps;
  readonly lists: LiveLists;
  readonly program: Program;
  /** The half in traffic control, where the forms have one. */
  readonly accept: Program | undefined;
  readonly #owned: Owned;

  private constructor(plan: Plan, owned: Owned, find: FindMap | undefined) {
    const { protection: made } = plan;
    this.#owned = owned;
    this.protection = made;
    this.note = plan.note;
    this.maps = owned.own(KernelMaps.create(made.maps, made.policy, find));
    this.lists = owned.own(new LiveLists(this.maps, made.maps, plan.lists));
    const { program, accept } = loadPrograms(made, { maps: this.maps.all });
    keepKernelFunctions();
    this.program = owned.own(program);
    this.accept = accept && owned.own(accept);
  }

  /**
   * Makes everything and tests it; nothing is attached yet. Maps that `find` has are taken over with their contents, and `tested` is told which
   * counters the self-test raised.
   */
  static make(plan: Plan, find: FindMap | undefined, tested: CountTested): Generation {
    return Owned.make((owned) => {
      const made = new Generation(plan, owned, find);
      selfTest(made.program, plan.protection, tested);
      return made;
    });
  }

  get policy(): Policy {
    return this.protection.policy;
  }

  [Symbol.dispose](): void {
    this.#owned[Symbol.dispose]();
  }
}
