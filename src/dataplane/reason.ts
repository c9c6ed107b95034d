/** The closed list of what can become of a frame. Counters, events, the command line and the documents take their words from here. */
const REASONS = [
  ['not-ip', 'pass', 'no IPv4 packet inside'],
  ['not-tcp', 'pass', 'another protocol than TCP'],
  ['fragment', 'pass', 'a later fragment, which has no TCP header'],
  ['truncated', 'pass', 'too short for the headers it claims'],
  ['not-syn', 'pass', 'a TCP segment that opens nothing: SYN clear, or ACK set'],
  ['other-port', 'pass', 'a SYN for a port that is not protected'],
  ['within-limit', 'pass', 'a SYN that found a token'],
  ['no-memory', 'pass', 'a SYN of a new source for which the kernel had no memory'],
  ['over-limit', 'drop', 'a SYN that found the bucket of its source empty'],
  ['contended', 'drop', 'a SYN that lost the race for the bucket of its source against other CPUs, again and again'],
] as const;

export type ReasonName = (typeof REASONS)[number][0];
export type VerdictName = 'pass' | 'drop';

/** One reason: its number in counters and events, the verdict it goes with, and what it means. */
export interface Reason {
  readonly name: ReasonName;
  readonly index: number;
  readonly verdict: VerdictName;
  readonly description: string;
}

export const reasons: readonly Reason[] = REASONS.map(([name, verdict, description], index) => ({
  name,
  index,
  verdict,
  description,
}));

const byName = new Map(reasons.map((reason) => [reason.name, reason]));

export function reasonOf(name: ReasonName): Reason {
  return byName.get(name)!;
}
