import type { Struct, Type } from '../btf/type.ts';
import { helpers } from '../uapi/helpers.gen.ts';
import type { BuilderCore } from './blocks.ts';
import { lookUp, maybePointer } from './map-access.ts';
import { requireKind } from './map-kind.ts';
import type { RingSpec } from './map.ts';
import { memoryAt } from './memory.ts';
import { type View, viewOf } from './view.ts';
import { filled } from './zeros.ts';

/** Emits what reserves a record of a ring buffer, fills it and submits it, or counts that there was no room. */
export function emitRecord<F extends Readonly<Record<string, Type>>, R>(
  core: BuilderCore<R>,
  ring: RingSpec,
  type: Struct<F>,
  fill: (record: View<F>) => void,
): void {
  requireKind(ring, 'record in');
  const { emitter } = core;
  const dst = emitter.vreg();
  const line = emitter.line();
  const args = [emitter.mapPointer(ring), BigInt(type.size), 0n];
  emitter.emit({ op: 'call', helper: helpers.ringbuf_reserve.id, args, dst, note: `reserve in ${ring.name}` });
  maybePointer(core, dst, `a record of ${ring.name}`, () => memoryAt(emitter, dst, ring.name)).match({
    some: (record) => {
      emitter.withoutLeaving(
        `leave with a record: the block leaves before the record of ${ring.name} is submitted; carry the outcome out with $.let`,
        () => {
          filled(record, type.size, (watched) => {
            fill(viewOf(watched, type));
          });
        },
      );
      const note = `submit to ${ring.name}`;
      emitter.onLine(() => {
        emitter.emit({ op: 'call', helper: helpers.ringbuf_submit.id, args: [dst, 0n], note });
      }, line);
    },
    none: () => {
      emitter.onLine(() => {
        lookUp(core, ring.lost, 0).match({
          some: (lost) => {
            lost.ref('value').add(1);
          },
        });
      }, line);
    },
  });
}
