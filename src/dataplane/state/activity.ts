import { arrayMap, bytes, struct, u64 } from '../../ebpf/language.ts';
import { mapGroup } from '../maps.ts';

/** What several CPUs and both programs read often and write rarely: until when challenges and proofs are to be looked for, nanoseconds. */
const Activity = struct('activity', { challengedUntil: u64, verifiedUntil: u64, spare: bytes(48) });

export const activityGroup = mapGroup({
  specs: () => ({ activity: arrayMap('activity', { value: Activity, maxEntries: 1, mmap: true }) }),
});
export type ActivityMaps = ReturnType<typeof activityGroup.specs>;
