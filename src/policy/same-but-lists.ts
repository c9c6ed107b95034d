import type { Policy } from './policy.ts';

/** Whether two policies say the same, but for their lists. */
export function sameButLists(a: Policy, b: Policy): boolean {
  const rest = ({ lists: _lists, sanity, ...policy }: Policy): string =>
    JSON.stringify({ ...policy, sanity: [...sanity] }, (_key, value: unknown) =>
      typeof value === 'bigint' ? String(value) : value,
    );
  return rest(a) === rest(b);
}
