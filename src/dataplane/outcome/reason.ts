/** The closed list of what can become of a frame. Counters, events, the command line and the documents take their words from here. */
import { stages } from '../pipeline.ts';
import { type Reason as AnyReason, REASON_NUMBERS, RETIRED } from './verdict.ts';

export type { VerdictName } from './verdict.ts';

type ReasonsOfStages = (typeof stages)[number]['reasons'];
export type ReasonName = ReasonsOfStages extends infer R ? (R extends R ? keyof R & string : never) : never;

/** One reason: its number in counters and events, its verdict and its meaning. */
export type Reason = AnyReason<ReasonName>;

/** Orders reasons by number. @throws RangeError for a number that is taken, retired or out of range. */
export function numbered<Name extends string>(
  given: readonly AnyReason<Name>[],
  retired: readonly number[] = RETIRED,
): readonly AnyReason<Name>[] {
  const byNumber = new Map<number, AnyReason<Name>>();
  for (const reason of given) {
    const { name, number } = reason;
    const other = byNumber.get(number);
    if (other) throw new RangeError(`reasons ${other.name} and ${name} both have number ${String(number)}`);
    if (retired.includes(number)) throw new RangeError(`reason ${name} has the retired number ${String(number)}`);
    if (!Number.isInteger(number) || number < 0 || number >= REASON_NUMBERS)
      throw new RangeError(`reason ${name} has number ${String(number)}, not 0 to ${String(REASON_NUMBERS - 1)}`);
    byNumber.set(number, reason);
  }
  return [...byNumber.values()].toSorted((a, b) => a.number - b.number);
}

/** Every reason, by number; numbers may be missing in between. */
export const reasons: readonly Reason[] = numbered(
  stages.flatMap((stage): readonly Reason[] => Object.values(stage.reasons)),
);

const byName = new Map(reasons.map((reason) => [reason.name, reason]));
const byNumber = new Map(reasons.map((reason) => [reason.number, reason]));

export function reasonOf(name: ReasonName): Reason {
  return byName.get(name)!;
}

/** The reason that a counter or an event names by its number. */
export function reasonNumbered(number: number): Reason {
  return byNumber.get(number)!;
}
