import { type Program, SeawallError, XDP } from '../ebpf/index.ts';
import { type ReasonName, reasonOf } from '../dataplane/outcome/reason.ts';
import { REASON_NUMBERS } from '../dataplane/outcome/verdict.ts';
import { type Protection, stages } from '../dataplane/pipeline.ts';
import type { LinkKind } from '../dataplane/frame/link.ts';
import type { AnyStage, CannedFrame } from '../dataplane/stage.ts';
import { ETH_P, Eth } from '../net/headers.ts';

/** Frames whose verdict no policy changes. */
const CANNED: readonly CannedFrame[] = (stages as readonly AnyStage[]).flatMap(({ canned = [] }) => canned);

/** The frames as they are on this kind of link. */
function framesOn(link: LinkKind): readonly CannedFrame[] {
  if (link === 'ethernet') return CANNED;
  const untagged = CANNED.filter(({ data }) => Buffer.from(data).readUInt16BE(Eth.offsets.proto) !== ETH_P.VLAN);
  return untagged.map((frame) => ({ ...frame, data: frame.data.subarray(Eth.size) }));
}

/** A program that does not do what every policy promises. It was never attached. */
class SelfTestError extends SeawallError {
  readonly code = 'VERIFIER';
}

/** Is told which counter a canned frame raised, so that user space can take it off again. */
export type CountTested = (counter: number) => void;

/** Runs canned frames through the program that is to come into force, in the kernel. @throws SelfTestError at the first that goes wrong. */
export function selfTest(
  program: Program,
  { policy: { dryRun }, link }: Pick<Protection, 'policy' | 'link'>,
  tested: CountTested,
): void {
  for (const { shows, data, verdict: expected, reason } of framesOn(link)) {
    const { verdict, data: after } = program.testRun({ data });
    tested(reasonOf(reason as ReasonName).number + (dryRun && expected !== 'pass' ? REASON_NUMBERS : 0));
    const wanted = expected === 'pass' || dryRun ? XDP.PASS : XDP.DROP;
    if (verdict === wanted.code && Buffer.compare(after, data) === 0) continue;
    throw new SelfTestError(
      `self-test: ${shows} gave verdict ${String(verdict)}${verdict === wanted.code ? ' and a changed frame' : `, not ${String(wanted.code)}`}; the program was not put into force`,
    );
  }
}
