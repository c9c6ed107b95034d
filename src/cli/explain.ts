import { Command } from 'commander';
import { readLists } from '../engine/lists/lists.ts';
import { Replay, type Replayed } from '../tools/replay.ts';
import { type ReasonName, reasonOf } from '../dataplane/outcome/reason.ts';
import { stages } from '../dataplane/pipeline.ts';
import type { AnyStage, Explained } from '../dataplane/stage.ts';
import type { CapturedPacket } from '../net/capture.ts';
import { parseFrame } from '../net/parse.ts';
import type { Policy } from '../policy/policy.ts';
import { parseCount } from '../policy/units.ts';
import { requireRoot, UsageError } from './exit-status.ts';
import { print } from './output.ts';
import { addPolicyOptions, policyOf, type PolicyOptions } from './policy-options.ts';
import { namingFile, openCapture } from './replay.ts';

const STAGES: readonly AnyStage[] = stages;

interface ExplainOptions extends PolicyOptions {
  readonly packet: string;
  readonly json?: boolean;
}

/** What decided on a packet, as it is printed. */
interface Decision {
  readonly n: number;
  readonly verdict: Replayed['verdict'];
  readonly reason: string;
  readonly description?: string;
  /** The stages up to the one that decided, which is the last. */
  readonly stages: readonly { readonly stage: string; readonly says: string }[];
}

function explain(path: string, options: ExplainOptions): void {
  requireRoot('explain');
  const wanted = parseCount(options.packet, '--packet', 1, Number.MAX_SAFE_INTEGER);
  const { policy, use } = policyOf(options);
  const packets = openCapture(path);
  using replay = use(() => new Replay(policy));
  namingFile(path, () => {
    for (const packet of packets) {
      // The packets before it count: they fill buckets and verify sources.
      const result = replay.run(packet);
      if (result.n < wanted) continue;
      const decision = decisionOn(packet, policy, result);
      print(options.json ? JSON.stringify(decision) : text(decision));
      return;
    }
    throw new UsageError(`${path} has fewer than ${String(wanted)} packets`);
  });
}

function decisionOn(packet: CapturedPacket, policy: Policy, result: Replayed): Decision {
  const { n, reason, verdict, tokens, reply } = result;
  if (verdict === 'skipped') return { n, verdict, reason, stages: [] };
  const decision = reasonOf(reason as ReasonName);
  const decided = STAGES.findIndex(({ reasons }) => Object.values(reasons).includes(decision));
  const given: Explained = {
    policy,
    frame: parseFrame(packet.data),
    length: packet.length,
    lists: readLists(policy),
    service: policy.services.find(({ name }) => name === result.service),
    tokens,
    reply,
  };
  const shown = STAGES.slice(0, decided + 1).map((stage) => ({ stage: stage.name, says: stage.explain(given) }));
  return { n, verdict, reason, description: decision.description, stages: shown };
}

function text({ n, verdict, reason, description, stages: shown }: Decision): string {
  if (description === undefined) return `packet ${String(n)}: ${verdict}, ${reason}`;
  const lines = shown.map(
    ({ stage, says }, index) => `${index === shown.length - 1 ? '>' : ' '} ${stage.padEnd(9)} ${says}`,
  );
  return [`packet ${String(n)}: ${verdict.toUpperCase()} (${reason}): ${description}`, ...lines].join('\n');
}

export function explainCommand(): Command {
  const command = new Command('explain')
    .description('show the decision on one packet of a capture, stage by stage; the packets before it count')
    .argument('<capture>', 'a pcap or pcapng file of Ethernet frames')
    .requiredOption('--packet <number>', 'which packet, from 1')
    .option('--json', 'print the decision as JSON');
  return addPolicyOptions(command).action(explain);
}
