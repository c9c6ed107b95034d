import { Command } from 'commander';
import { readLists } from '../engine/lists/lists.ts';
import { Replay, type Replayed } from '../tools/replay.ts';
import { type ReasonName, reasonOf } from '../dataplane/outcome/reason.ts';
import type { CapturedPacket } from '../net/capture.ts';
import { flagNames } from '../net/headers.ts';
import { addressBytes, cidrContains, formatCidr } from '../net/address.ts';
import { networkCidrs } from '../net/network-list.ts';
import { type ParsedFrame, parseFrame } from '../net/parse.ts';
import type { Policy } from '../policy/policy.ts';
import { sanityNames } from '../policy/sanity.ts';
import { formatPorts, parseCount } from '../policy/units.ts';
import { requireRoot, UsageError } from './exit-status.ts';
import { addPolicyOptions, policyOf, type PolicyOptions } from './policy-options.ts';
import { namingFile, openCapture } from './replay.ts';

/** The stages in order, with the reasons that each can end a frame for. */
const STAGES: readonly (readonly [string, readonly ReasonName[]])[] = [
  [
    'parse',
    [
      'not-ip',
      'not-tcp',
      'later-fragment',
      'truncated',
      'bad-ip-header',
      'bad-length',
      'vlan-depth',
      'ipv6-chain',
      'tiny-fragment',
      'fragment',
      'bad-tcp-header',
    ],
  ],
  ['flags', ['not-syn', 'proof']],
  ['lists', ['allowed', 'denied']],
  ['service', ['no-service']],
  ['sanity', sanityNames],
  ['verified', ['verified', 'over-verified']],
  ['limits', ['within-limit', 'over-source', 'over-prefix', 'over-service', 'contended']],
  ['challenge', ['challenged', 'no-answer']],
];

function parseValues(frame: ParsedFrame, length: number): string {
  const { eth, vlans, ip, tcp } = frame;
  const parts = [`${String(length)} bytes`];
  if (eth) parts.push(`type 0x${eth.proto.toString(16).padStart(4, '0')}`);
  if (vlans.length > 0) parts.push(`VLAN ${vlans.join(' in ')}`);
  if (ip) parts.push(`IPv${String(ip.version)} ${ip.src} > ${ip.dst}, protocol ${String(ip.protocol)}`);
  if (ip?.extensions.length) parts.push(`extension headers ${ip.extensions.join(', ')}`);
  if (tcp) parts.push(`TCP ${String(tcp.source)} > ${String(tcp.dest)}`);
  return parts.join(', ');
}

/** The values that each stage looks at. */
function values(stage: string, packet: CapturedPacket, policy: Policy, result: Replayed): string {
  const frame = parseFrame(packet.data);
  const { ip, tcp } = frame;
  const service = policy.services.find(({ name }) => name === result.service);
  switch (stage) {
    case 'parse':
      return parseValues(frame, packet.length);
    case 'flags':
      return tcp ? `flags ${flagNames(tcp.flags).join(',') || 'none'}` : '';
    case 'lists': {
      if (!ip) return '';
      const source = addressBytes(ip.src);
      const lists = readLists(policy);
      const hit = (['allow', 'deny'] as const).flatMap((action) => {
        const network = networkCidrs(lists[action]).find((cidr) => cidrContains(cidr, source));
        return network ? [`${action} has ${formatCidr(network)}`] : [];
      });
      return `source ${ip.src}: ${hit.join(', ') || 'on no list'}`;
    }
    case 'service':
      return service
        ? `${service.name}: ports ${formatPorts(service.ports) || 'all'}, addresses ${service.addresses.map(formatCidr).join(', ') || 'all'}`
        : `${ip?.dst ?? ''} port ${String(tcp?.dest ?? '')} is no service`;
    case 'sanity':
      return tcp
        ? `window ${String(tcp.window)}, seq ${String(tcp.seq)}, ack ${String(tcp.ack)}, options ${tcp.options.map(({ kind }) => kind).join(' ') || 'none'}, payload ${String(frame.payloadLength)}`
        : '';
    case 'verified':
      return service ? `limit ${service.limits.verified.rate}, burst ${String(service.limits.verified.burst)}` : '';
    case 'limits': {
      const bucket = service?.limits.source;
      if (!bucket) return 'no limit of a source';
      const tokens = result.tokens ? `, tokens ${String(result.tokens.before)} > ${String(result.tokens.after)}` : '';
      return `source ${bucket.rate}, burst ${String(bucket.burst)}${tokens}`;
    }
    default:
      return result.reply
        ? `answer of ${String(result.reply.length)} bytes: ${result.reply.toString('hex')}`
        : `mode ${service?.challenge ?? ''}`;
  }
}

function explain(path: string, options: PolicyOptions & { readonly packet: string }): void {
  requireRoot('explain');
  const wanted = parseCount(options.packet, '--packet', 1, Number.MAX_SAFE_INTEGER);
  const { policy } = policyOf(options);
  using replay = new Replay(policy);
  namingFile(path, () => {
    for (const packet of openCapture(path)) {
      // Everything before it counts: buckets and verified sources are what it finds.
      const result = replay.run(packet);
      if (result.n < wanted) continue;
      print(packet, policy, result);
      return;
    }
    throw new UsageError(`${path} has fewer than ${String(wanted)} packets`);
  });
}

function print(packet: CapturedPacket, policy: Policy, result: Replayed): void {
  const { reason, verdict } = result;
  if (verdict === 'skipped') {
    console.log(`packet ${String(result.n)}: skipped, ${reason}`);
    return;
  }
  const decided = STAGES.findIndex(([, names]) => names.includes(reason as ReasonName));
  console.log(
    `packet ${String(result.n)}: ${verdict.toUpperCase()} (${reason}): ${reasonOf(reason as ReasonName).description}`,
  );
  STAGES.slice(0, decided + 1).forEach(([stage], index) => {
    const mark = index === decided ? '>' : ' ';
    console.log(`${mark} ${stage.padEnd(9)} ${values(stage, packet, policy, result)}`);
  });
}

export function explainCommand(): Command {
  const command = new Command('explain')
    .description('show what decided on one packet of a capture, stage by stage; the packets before it count')
    .argument('<capture>', 'a pcap or pcapng file of Ethernet frames')
    .requiredOption('--packet <number>', 'which packet, from 1');
  return addPolicyOptions(command).action(explain);
}
