/** The closed list of what can become of a frame. Counters, events, the command line and the documents take their words from here. */
import { type SanityCheck, sanityChecks } from '../../policy/sanity.ts';

const sanity = Object.entries(sanityChecks).map(
  ([name, description]) => [name as SanityCheck, 'drop', description] as const,
);

const REASONS = [
  ['not-ip', 'pass', 'no IPv4 or IPv6 packet inside'],
  ['not-tcp', 'pass', 'another protocol than TCP'],
  ['later-fragment', 'pass', 'a fragment without a TCP header (`fragments.later = "pass"`)'],
  ['not-syn', 'pass', 'a TCP segment that opens nothing: SYN clear, or ACK set'],
  ['allowed', 'pass', 'from a source on the allow list'],
  ['no-service', 'pass', 'a SYN for an address or port that is not protected'],
  ['verified', 'pass', 'a SYN of a source that proved its address lately'],
  ['within-limit', 'pass', 'a SYN within every limit'],
  ['challenged', 'answer', 'a SYN that was answered with a cookie in place of the server'],
  ['proof', 'drop', 'a RST with the right cookie: its source is real, and verified from now on'],
  ['truncated', 'drop', 'too short for the headers it claims'],
  ['bad-ip-header', 'drop', 'an IP version or header length that cannot be'],
  ['bad-length', 'drop', 'a packet whose length says more than the frame holds, or less than its headers'],
  ['vlan-depth', 'drop', 'more than two VLAN tags'],
  ['ipv6-chain', 'drop', 'more than eight IPv6 extension headers'],
  ['tiny-fragment', 'drop', 'a fragment that would overwrite the flags of a TCP header (RFC 3128)'],
  ['fragment', 'drop', 'a fragment, where the policy drops them'],
  ['bad-tcp-header', 'drop', 'a TCP header length below five words, or beyond the segment'],
  ['denied', 'drop', 'from a source on the deny list'],
  ...sanity,
  ['over-source', 'drop', 'over the limit of its source'],
  ['over-prefix', 'drop', 'over the limit of its network'],
  ['over-service', 'drop', 'over the limit of the service'],
  ['over-verified', 'drop', 'over the wide limit of verified sources'],
  ['contended', 'drop', 'lost the race for its meter cell against other CPUs, again and again'],
  ['no-answer', 'drop', 'to be challenged, but the frame could not be made into an answer'],
] as const;

export type ReasonName = (typeof REASONS)[number][0];
export type VerdictName = 'pass' | 'drop' | 'answer';

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
