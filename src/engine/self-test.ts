import { Program, SeawallError, XDP } from '../ebpf/index.ts';
import type { Protection } from '../dataplane/pipeline.ts';
import { ethernet, frame, ipv4, ipv6, tcp, udp, vlan } from '../net/build.ts';
import { ETH_P } from '../net/headers.ts';

const truncated = frame([ethernet(), ipv4(), tcp()]).subarray(0, 40);

/** Canned frames whose verdict no policy changes: what it shows, the frame, whether it is dropped. */
const CANNED: readonly (readonly [string, Uint8Array, 'pass' | 'drop'])[] = [
  ['ARP', frame([ethernet({ proto: ETH_P.ARP })], new Uint8Array(28)), 'pass'],
  ['UDP over IPv4', frame([ethernet(), ipv4(), udp()]), 'pass'],
  ['UDP over IPv6 in a VLAN', frame([ethernet(), vlan(), ipv6(), udp()]), 'pass'],
  ['an ACK over IPv4', frame([ethernet(), ipv4(), tcp({ flags: ['ACK'] })]), 'pass'],
  ['an ACK over IPv6', frame([ethernet(), ipv6(), tcp({ flags: ['ACK'] })]), 'pass'],
  ['a truncated TCP header', truncated, 'drop'],
  ['a lying length', frame([ethernet(), ipv4({ totalLength: 1400 }), tcp()]), 'drop'],
];

/** A program that does not do what every policy promises. It was never attached. */
export class SelfTestError extends SeawallError {
  readonly code = 'VERIFIER';
}

/** Loads a protection with maps of its own and runs canned frames through it in the kernel. @throws SelfTestError at the first that goes wrong. */
export function selfTest({ program, policy }: Protection): void {
  using loaded = Program.load(program);
  for (const [what, data, expected] of CANNED) {
    const { verdict, data: after } = loaded.testRun({ data });
    const wanted = expected === 'pass' || policy.dryRun ? XDP.PASS : XDP.DROP;
    if (verdict === wanted.code && Buffer.compare(after, data) === 0) continue;
    throw new SelfTestError(
      `self-test: ${what} gave verdict ${String(verdict)}${verdict === wanted.code ? ' and a changed frame' : `, not ${String(wanted.code)}`}; the program was not put into force`,
    );
  }
}
