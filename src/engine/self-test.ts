import { SeawallError, XDP } from '../ebpf/index.ts';
import { type Protection, stages } from '../dataplane/pipeline.ts';
import type { AnyStage, CannedFrame } from '../dataplane/stage.ts';
import { loadPrograms } from './load-programs.ts';

/** Frames whose verdict no policy changes. */
const CANNED: readonly CannedFrame[] = (stages as readonly AnyStage[]).flatMap(({ canned = [] }) => canned);

/** A program that does not do what every policy promises. It was never attached. */
export class SelfTestError extends SeawallError {
  readonly code = 'VERIFIER';
}

/** Loads a protection with maps of its own and runs canned frames through it in the kernel. @throws SelfTestError at the first that goes wrong. */
export function selfTest(made: Protection): void {
  const { program, accept } = loadPrograms(made, {});
  using loaded = program;
  accept?.[Symbol.dispose]();
  const { policy } = made;
  for (const { shows, data, verdict: expected } of CANNED) {
    const { verdict, data: after } = loaded.testRun({ data });
    const wanted = expected === 'pass' || policy.dryRun ? XDP.PASS : XDP.DROP;
    if (verdict === wanted.code && Buffer.compare(after, data) === 0) continue;
    throw new SelfTestError(
      `self-test: ${shows} gave verdict ${String(verdict)}${verdict === wanted.code ? ' and a changed frame' : `, not ${String(wanted.code)}`}; the program was not put into force`,
    );
  }
}
