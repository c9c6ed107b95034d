/** The limits of service, source and networks. */
import type { Int, XdpBuilder } from '../../ebpf/language.ts';
import type { Policy } from '../../policy/policy.ts';
import { type Cell, type Context, handOver } from '../context.ts';
import type { Segment } from '../frame/parse.ts';
import { stage } from '../stage.ts';
import { keyGroup, type KeyMaps, keyedHash } from '../state/hash.ts';
import { Metered, meter, type MeterBucket, meterGroup, type MeterMap, type MeterMaps } from '../state/meter.ts';
import {
  batchOf,
  overService,
  Purse,
  serviceIsEmpty,
  serviceStateGroup,
  type ServiceStateMaps,
  turnOn,
} from '../state/service-limit.ts';
import { tickShifts } from '../state/ticks.ts';
import { raiseLevel } from '../state/verified-level.ts';
import { Verified } from '../state/verified-sources.ts';
import { Pressed, pressure } from './pressure.ts';
import { Served } from './service.ts';
import { Proven, verified } from './verified.ts';

/** Why the SYN may not simply pass: the number of a reason; and the cell of its source. */
export const Refused = handOver<Cell & { readonly reason: Int<32> }>('why the SYN may not pass');

export const limits = stage({
  name: 'limits',
  decides:
    "Limits: service, source, networks. Within all of them it passes. Over its wide limit a verified source passes while verified sources have half of the service's tokens left; networks bound verified sources while these want more than the service has.",
  reasons: {
    'within-limit': { number: 7, verdict: 'pass', often: true, description: 'a SYN within every limit' },
    'over-source': { number: 34, verdict: 'drop', description: 'over the limit of its source' },
    'over-prefix': { number: 35, verdict: 'drop', description: 'over the limit of its network' },
    'over-service': { number: 36, verdict: 'drop', description: 'over the limit of the service' },
    contended: {
      number: 38,
      verdict: 'drop',
      description: 'lost the race for its meter cell against other CPUs, again and again',
    },
  },
  maps: [keyGroup, meterGroup, serviceStateGroup],
  reads: ['services'],
  build($, segment, context) {
    const refused = askLimits($, segment, context);
    // Else the verifier walks the challenge once for each reason.
    context.give(Refused, context.challenger ? { ...refused, reason: refused.reason.forget() } : refused);
  },
  explain({ service, tokens }) {
    const bucket = service?.limits.source;
    if (!bucket) return 'no limit of a source';
    const left = tokens ? `, tokens ${String(tokens.before)} > ${String(tokens.after)}` : '';
    return `source ${bucket.rate}, burst ${String(bucket.burst)}${left}`;
  },
});

/**
 * Asks the limits; a SYN within all of them leaves here. A service without tokens ends the questions. Otherwise the narrowest limit is asked first:
 * the source's own bucket stops a flood from one source, which then takes no tokens from wider buckets.
 *
 * A verified source was asked for its own limit before. Where its service has no token, it passes all the same, but the level rises: from
 * then on SYNs of verified sources cost more, until they are no more than the service has.
 */
function askLimits(
  $: XdpBuilder,
  segment: Segment,
  context: Context<MeterMaps & KeyMaps & ServiceStateMaps, Pick<Policy, 'services'>>,
) {
  const { maps, policy, now } = context;
  const { source, prefixes, service, index, mode } = context.take(Served);
  const { meters } = maps;
  const shifts = tickShifts(policy.services);
  const batch = batchOf(policy);
  const none = { before: $.u32(0), after: $.u32(0) };
  const proven = context.take(Proven);
  const unverified = () => proven.eq(Verified.NO);
  return $.inline({ reason: 32, before: 32, after: 32 }, (out) => {
    const over = (name: keyof typeof limits.reasons, cell: Cell) => ({ reason: limits.reasons[name].number, ...cell });
    const ask = (map: MeterMap, bits: number, bucket: MeterBucket, shift: number) => {
      const key = segment.source.leading(bits);
      // Services share cells, but not a source's tokens.
      if (policy.services.length > 1) key[0] = key[0]!.xor(index.u64().shl(32));
      return meter($, map, keyedHash($, maps, segment.family, key), bucket, now.shr(shift).u32());
    };
    out.if(context.take(Pressed).ne(0), () => ({ reason: pressure.reasons.challenged.number, ...none }));
    out.if(service.price.ne(0).and(unverified()), () => {
      const empty = serviceIsEmpty($, maps, index, service, batch, now, mode);
      out.if(empty.ne(0), () => over('over-service', none));
    });
    const cell = out.when(
      source.price.ne(0).and(unverified()),
      () => {
        const { outcome, ahead } = ask(meters.source, 128, source, shifts.source);
        const owes = { before: ahead, after: ahead };
        out.if(outcome.eq(Metered.OVER), () => over('over-source', owes));
        out.if(outcome.eq(Metered.CONTENDED), () => over('contended', owes));
        return { before: ahead, after: ahead.add(source.price) };
      },
      () => none,
    );
    policy.services[0]!.limits.prefixes.forEach(({ family, bits }, at) => {
      const bucket = prefixes[at]!;
      if (family !== segment.family) return;
      out.if(bucket.price.ne(0).and(unverified().or(proven.eq(Verified.SHORT))), () => {
        const { outcome } = ask(meters.prefixes[at]!, bits, bucket, shifts.prefixes[at]!);
        out.if(outcome.eq(Metered.OVER), () => over('over-prefix', cell));
        out.if(outcome.eq(Metered.CONTENDED), () => over('contended', cell));
      });
    });
    const overVerified = () => ({ reason: verified.reasons['over-verified'].number, ...none });
    out.if(
      service.price.ne(0),
      () => {
        const half = $.select(proven.eq(Verified.OVER), service.credit.shr(1), service.credit);
        const purse = context.challenger
          ? $.let($.select(unverified(), $.u32(Purse.ALL), $.u32(Purse.VERIFIED)).forget()).and(1)
          : $.u32(Purse.ALL);
        const empty = overService($, maps, index, purse, { ...service, credit: half }, batch, now, (state) => {
          $.if(unverified(), () => {
            turnOn($, state, now, mode);
          });
          $.if(proven.oneOf([Verified.WITHIN, Verified.SHORT]), () => {
            raiseLevel($, state, context.take(Served).verified, now);
          });
        });
        out.if(empty.ne(0).and(unverified()), () => over('over-service', cell));
        out.if(empty.ne(0).and(proven.eq(Verified.OVER)), overVerified);
      },
      () => {
        out.if(proven.eq(Verified.OVER), overVerified);
      },
    );
    $.if(unverified().not(), () => context.end(verified.reasons.verified));
    return $.leave(context.end(limits.reasons['within-limit'], cell));
  });
}
