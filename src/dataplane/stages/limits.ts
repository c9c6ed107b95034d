import type { Builder, Int } from '../../ebpf/language.ts';
import type { Policy } from '../../policy/policy.ts';
import { keyedHash, leadingBits } from '../state/hash.ts';
import type { MeterMap, ProtectionMaps } from '../maps.ts';
import { Metered, meter, type MeterBucket } from '../state/meter.ts';
import type { Segment } from '../frame/parse.ts';
import { reasonOf } from '../outcome/reason.ts';
import type { ServiceValues } from './service.ts';
import { tickShifts } from '../state/ticks.ts';
import { batchOf, overService, serviceIsEmpty } from '../state/service-limit.ts';

/** What the limits say of a SYN: the number of a reason to drop it, or 0; and its source's cell before and after, in ticks. */
export interface LimitOutcome {
  readonly reason: Int<32>;
  readonly before: Int<32>;
  readonly after: Int<32>;
}

/**
 * Asks the limits. A service without tokens stops everything at once. Otherwise the narrowest is asked first: a flood from one source
 * is stopped by its own bucket and takes nothing from the others'.
 */
export function askLimits<R>(
  $: Builder<R>,
  maps: ProtectionMaps,
  policy: Policy,
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
    const key = leadingBits(segment.source(), bits);
    // Services share cells, but not a source's tokens.
    if (policy.services.length > 1) key[0] = key[0]!.xor($.u32(0).add(values.index).u64().shl(32));
    const { outcome, ahead } = meter($, map, keyedHash($, maps, key), bucket, now.shr(shift).u32());
    $.if(outcome.eq(Metered.OVER), () => {
      reason.set(reasonOf(over).index);
    });
    $.if(outcome.eq(Metered.CONTENDED), () => {
      reason.set(reasonOf('contended').index);
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
        reason.set(reasonOf('over-service').index);
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
          reason.set(reasonOf('over-service').index);
        });
      });
    });
  }
  return { reason, before, after };
}
