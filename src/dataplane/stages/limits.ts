/** The limits of service, source and networks. */
import { type Builder, Int, type XdpBuilder } from '../../ebpf/language.ts';
import type { Policy } from '../../policy/policy.ts';
import type { Segment } from '../frame/parse.ts';
import { stage } from '../stage.ts';
import { keyGroup, type KeyMaps, keyedHash } from '../state/hash.ts';
import { Metered, meter, type MeterBucket, meterGroup, type MeterMap, type MeterMaps } from '../state/meter.ts';
import {
  batchOf,
  overService,
  serviceIsEmpty,
  serviceStateGroup,
  type ServiceStateMaps,
} from '../state/service-limit.ts';
import { MODES, type ServiceValues } from '../state/service-policy.ts';
import { tickShifts } from '../state/ticks.ts';
import { Decision } from './pressure.ts';
import { Served } from './service.ts';

export const limits = stage({
  name: 'limits',
  decides: 'Limits: service, source, networks. Within all of them it passes.',
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
    const { maps, policy, now, challenger } = context;
    const values = context.take(Served);
    const { reason, before, after } = context.take(Decision);
    $.if(reason.eq(0), () => {
      const outcome = askLimits($, maps, policy, segment, values, now, challenger ? isAuto($, values) : false);
      reason.set(outcome.reason);
      before.set(outcome.before);
      after.set(outcome.after);
    });
    $.if(reason.eq(0), () => context.end(limits.reasons['within-limit'], { before, after }));
  },
  explain({ service, tokens }) {
    const bucket = service?.limits.source;
    if (!bucket) return 'no limit of a source';
    const left = tokens ? `, tokens ${String(tokens.before)} > ${String(tokens.after)}` : '';
    return `source ${bucket.rate}, burst ${String(bucket.burst)}${left}`;
  },
});

function isAuto($: XdpBuilder, { mode }: ServiceValues): Int<32> | boolean {
  return mode instanceof Int ? $.select(mode.eq(MODES.indexOf('auto')), $.u32(1), $.u32(0)) : mode === 'auto';
}

/** What the limits say of a SYN: the number of a reason to drop it, or 0; and its source's cell before and after, in ticks. */
interface LimitOutcome {
  readonly reason: Int<32>;
  readonly before: Int<32>;
  readonly after: Int<32>;
}

/**
 * Asks the limits. A service without tokens stops everything at once. Otherwise the narrowest is asked first: a flood from one source
 * is stopped by its own bucket and takes nothing from the others'.
 */
function askLimits<R>(
  $: Builder<R>,
  maps: MeterMaps & KeyMaps & ServiceStateMaps,
  policy: Pick<Policy, 'services'>,
  segment: Segment,
  values: ServiceValues,
  now: Int<64>,
  switchOn: Int<32> | boolean,
): LimitOutcome {
  const shifts = tickShifts(policy.services);
  const reason = $.let($.u32(0));
  const before = $.let($.u32(0));
  const after = $.let($.u32(0));
  const ask = (
    map: MeterMap,
    bits: number,
    bucket: MeterBucket,
    shift: number,
    over: 'over-source' | 'over-prefix',
  ): void => {
    const key = segment.source.leading(bits);
    // Services share cells, but not a source's tokens.
    if (policy.services.length > 1) key[0] = key[0]!.xor($.u32(0).add(values.index).u64().shl(32));
    const { outcome, ahead } = meter($, map, keyedHash($, maps, key), bucket, now.shr(shift).u32());
    $.if(outcome.eq(Metered.OVER), () => {
      reason.set(limits.reasons[over].number);
    });
    $.if(outcome.eq(Metered.CONTENDED), () => {
      reason.set(limits.reasons.contended.number);
    });
    if (over === 'over-source') {
      before.set(ahead);
      after.set(ahead);
      $.if(outcome.eq(Metered.WITHIN), () => {
        after.set(ahead.add(bucket.price));
      });
    }
  };
  /** A price that is only known in the kernel may be zero, which is no limit. */
  const where = (bucket: MeterBucket, body: () => void): void => {
    if (typeof bucket.price === 'number') body();
    else $.if(bucket.price.ne(0), body);
  };
  const { source, service } = values;
  const batch = batchOf(policy);
  /** Whether the service has a limit is known while building, or to its price. */
  const whereLimited = (bucket: NonNullable<typeof service>, body: () => void): void => {
    if (typeof bucket.price === 'bigint') body();
    else $.if(bucket.price.ne(0), body);
  };
  if (service) {
    whereLimited(service, () => {
      $.if(serviceIsEmpty($, maps, values.index, service, batch, now, switchOn).ne(0), () => {
        reason.set(limits.reasons['over-service'].number);
      });
    });
  }
  if (source) {
    const body = (): void => {
      where(source, () => {
        ask(maps.meters.source, 128, source, shifts.source, 'over-source');
      });
    };
    if (service) $.if(reason.eq(0), body);
    else body();
  }
  policy.services[0]!.limits.prefixes.forEach(({ family, bits }, at) => {
    const bucket = values.prefixes[at];
    if (family !== segment.family || !bucket) return;
    $.if(reason.eq(0), () => {
      where(bucket, () => {
        ask(maps.meters.prefixes[at]!, bits, bucket, shifts.prefixes[at]!, 'over-prefix');
      });
    });
  });
  if (service) {
    $.if(reason.eq(0), () => {
      whereLimited(service, () => {
        $.if(overService($, maps, values.index, service, batch, now, switchOn).ne(0), () => {
          reason.set(limits.reasons['over-service'].number);
        });
      });
    });
  }
  return { reason, before, after };
}
