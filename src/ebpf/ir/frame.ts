/** What functions keep in memory: its places below r10, and its limits. */
import { DslError } from '../errors.ts';
import type { CallSite } from '../source-location.ts';
import type { MachineFunction } from './machine.ts';

/** The most a function's frame may hold, and the frames of functions that call one another together (MAX_BPF_STACK, include/linux/filter.h). */
const MAX_FRAME = 512;
/** What the kernel counts frames in (check_max_stack_depth, kernel/bpf/verifier.c); newer ones with a JIT compiler count by 16. */
const GRANULE = 32;
/** How many of the largest slots a message names. */
const NAMED_SLOTS = 3;

interface Slot {
  readonly number: number;
  readonly size: number;
  /** Where it is used first. */
  readonly site: CallSite | undefined;
}

/** The frame of a compiled function. */
export interface Frame {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** The largest slots, by falling size. */
  readonly largest: readonly Slot[];
  /** The functions that it calls, by name. */
  readonly callees: ReadonlySet<string>;
}

/** The slots that instructions name, by falling size: the largest alignment first. */
function usedSlots(fn: MachineFunction): Slot[] {
  const sites = new Map<number, CallSite | undefined>();
  for (const { insns } of fn.blocks) {
    for (const { slot, site } of insns) if (slot !== undefined && !sites.get(slot)) sites.set(slot, site);
  }
  return [...sites]
    .map(([number, site]) => ({ number, size: fn.frame[number]!, site }))
    .toSorted((a, b) => b.size - a.size || a.number - b.number);
}

/** Gives frame slots their places, as offsets from r10 by number. @throws DslError for more than a frame may hold. */
export function placeSlots(fn: MachineFunction): { readonly offsets: readonly number[]; readonly frame: Frame } {
  const offsets: number[] = [];
  const slots = usedSlots(fn);
  let size = 0;
  for (const slot of slots) {
    size += Math.ceil(slot.size / 8) * 8;
    offsets[slot.number] = -size;
  }
  const callees = new Set(fn.blocks.flatMap(({ insns }) => insns.flatMap(({ callee }) => callee ?? [])));
  const frame = { name: fn.name, size, largest: slots.slice(0, NAMED_SLOTS), callees };
  if (size > MAX_FRAME) {
    throw tooLarge(
      `compile function ${fn.name}: its frame needs ${String(size)} bytes`,
      'keep fewer values alive at once, or large ones in a map',
      [frame],
    );
  }
  return { offsets, frame };
}

const counted = ({ size }: Frame): number => Math.max(1, Math.ceil(size / GRANULE)) * GRANULE;
const bytesOf = (chain: readonly Frame[]): number => chain.reduce((sum, frame) => sum + counted(frame), 0);

/**
 * Checks the frames of functions that call one another: those below the main function, and those below each function that has a stack of its own.
 * @throws DslError for those that need too much together.
 */
export function checkCallChains(main: Frame, frames: ReadonlyMap<string, Frame>, ownStacks: ReadonlySet<string>): void {
  const deepest = new Map<Frame, readonly Frame[]>();
  const deepestFrom = (frame: Frame): readonly Frame[] => {
    const known = deepest.get(frame);
    if (known) return known;
    const callees = [...frame.callees].filter((name) => !ownStacks.has(name));
    const below = callees.map((name) => deepestFrom(frames.get(name)!));
    const chain = [frame, ...(below.toSorted((a, b) => bytesOf(b) - bytesOf(a))[0] ?? [])];
    deepest.set(frame, chain);
    return chain;
  };
  for (const first of [main, ...[...ownStacks].map((name) => frames.get(name)!)]) {
    const chain = deepestFrom(first);
    const bytes = bytesOf(chain);
    if (bytes <= MAX_FRAME) continue;
    const names = chain.map((frame) => `${frame.name} (${String(counted(frame))})`);
    throw tooLarge(
      `compile program ${main.name}: the frames of ${names.slice(0, -1).join(', ')} and ${names.at(-1)!}, which call one another, need ${String(bytes)} bytes together`,
      'keep fewer values alive across calls, large ones in a map, or call the functions one after the other',
      chain,
    );
  }
}

/** The error for frames that are too large, at the line of their largest slot. */
function tooLarge(what: string, advice: string, frames: readonly Frame[]): DslError {
  const largest = frames
    .flatMap((frame) => frame.largest)
    .toSorted((a, b) => b.size - a.size)
    .slice(0, NAMED_SLOTS);
  const named = largest.map(({ size, site }) => {
    const location = site?.location;
    return `${String(size)} bytes${location ? ` at ${location.file}:${String(location.line)}` : ''}`;
  });
  return new DslError(
    `${what} and the kernel allows ${String(MAX_FRAME)}; ${advice}. The largest: ${named.join(', ')}`,
    largest[0]?.site?.location,
  );
}
