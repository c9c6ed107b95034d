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

function explain(path: string, options: PolicyOptions & { readonly packet: string }): void {
  requireRoot('explain');
  const wanted = parseCount(options.packet, '--packet', 1, Number.MAX_SAFE_INTEGER);
  const { policy, use } = policyOf(options);
  const packets = openCapture(path);
  using replay = use(() => new Replay(policy));
  namingFile(path, () => {
    for (const packet of packets) {
      // Everything before it counts: buckets and verified sources are what it finds.
      const result = replay.run(packet);
      if (result.n < wanted) continue;
      printDecision(packet, policy, result);
      return;
    }
    throw new UsageError(`${path} has fewer than ${String(wanted)} packets`);
  });
}

function printDecision(packet: CapturedPacket, policy: Policy, result: Replayed): void {
  const { reason, verdict, tokens, reply } = result;
  if (verdict === 'skipped') {
    print(`packet ${String(result.n)}: skipped, ${reason}`);
    return;
  }
  const decision = reasonOf(reason as ReasonName);
  print(`packet ${String(result.n)}: ${verdict.toUpperCase()} (${reason}): ${decision.description}`);
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
  STAGES.slice(0, decided + 1).forEach((stage, index) => {
    print(`${index === decided ? '>' : ' '} ${stage.name.padEnd(9)} ${stage.explain(given)}`);
  });
}

export function explainCommand(): Command {
  const command = new Command('explain')
    .description('show what decided on one packet of a capture, stage by stage; the packets before it count')
    .argument('<capture>', 'a pcap or pcapng file of Ethernet frames')
    .requiredOption('--packet <number>', 'which packet, from 1');
  return addPolicyOptions(command).action(explain);
}
