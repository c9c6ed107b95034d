/** The sysctls that the form `kernel` needs: set where the policy allows it, and set back once no form needs them. */
import { readFileSync, writeFileSync } from 'node:fs';
import type { Form } from '../dataplane/cookie/challenger.ts';
import type { Policy } from '../policy/policy.ts';
import { attemptAll, throwFirst, type Transaction } from './transaction.ts';

const DIRECTORY = '/proc/sys/net';
export const SYNCOOKIES = 'ipv4/tcp_syncookies';
export const TIMESTAMPS = 'ipv4/tcp_timestamps';
/** The value of `tcp_syncookies` that makes the kernel take cookies at any time. */
export const UNCONDITIONAL = '2';
/** The value of `tcp_timestamps` without a secret offset for each pair of addresses. */
export const PLAIN = '2';

/** What stood in sysctls before this program changed them, by name. */
export type SysctlsBefore = Readonly<Record<string, string>>;

/** A change of sysctls: the former values that are known afterwards, and the values to write. */
export interface SysctlChange {
  readonly before: SysctlsBefore;
  readonly write: readonly (readonly [name: string, value: string])[];
}

/** A sysctl of this thread's network namespace; empty where this kernel has none of that name. */
export function readSysctl(name: string): string {
  try {
    return readFileSync(`${DIRECTORY}/${name}`, 'utf8').trim();
  } catch {
    return '';
  }
}

/** What this program writes into each. Timestamps that are off stay off. */
const OURS: Readonly<Record<string, string>> = { [SYNCOOKIES]: UNCONDITIONAL, [TIMESTAMPS]: PLAIN };

/** What other protected interfaces of this network namespace hold: it has one set of sysctls. */
export type Others = () => readonly SysctlsBefore[];
const NO_OTHERS: Others = () => [];

/**
 * The sysctls to write, so that the forms of challenge get the values they need, and no others stay changed. Interfaces that need the same sysctls
 * all know the former values, and the last one restores them.
 */
export function planSysctls(
  before: SysctlsBefore,
  { setSysctls }: Pick<Policy, 'setSysctls'>,
  forms: readonly Form[],
  others = NO_OTHERS,
): SysctlChange {
  if (!setSysctls || !forms.includes('kernel')) return restoredSysctls(before, others);
  const wanted = Object.entries(OURS).filter(([name, value]) => {
    const now = readSysctl(name);
    return now !== value && (name !== TIMESTAMPS || now === '1');
  });
  const changed = Object.fromEntries(wanted.map(([name]) => [name, readSysctl(name)]));
  // Read after the sysctls: an interface that sets them has pinned their former values by then.
  const known = Object.assign({}, ...others()) as SysctlsBefore;
  return { before: { ...changed, ...known, ...before }, write: wanted };
}

/** The values to restore, where no other interface needs them. A sysctl that was set by others since is left alone. */
function restoredSysctls(before: SysctlsBefore, others: Others): SysctlChange {
  const ours = Object.entries(before).filter(([name]) => readSysctl(name) === OURS[name]);
  if (ours.length === 0) return { before: {}, write: [] };
  const needed = new Set(others().flatMap((held) => Object.keys(held)));
  return { before: {}, write: ours.filter(([name]) => !needed.has(name)) };
}

function write(name: string, value: string): void {
  writeFileSync(`${DIRECTORY}/${name}`, value);
}

/** Writes sysctls as steps of a change. */
export function applySysctls(transaction: Transaction, change: SysctlChange): void {
  for (const [name, value] of change.write) {
    transaction.step(
      () => {
        const now = readSysctl(name);
        write(name, value);
        return now;
      },
      (now) => {
        write(name, now);
      },
    );
  }
}

/** Restores sysctls that no other interface needs. @throws the first error; the rest is still restored. */
export function restoreSysctls(before: SysctlsBefore, others = NO_OTHERS): void {
  throwFirst(
    attemptAll(
      restoredSysctls(before, others).write.map(([name, value]) => () => {
        write(name, value);
      }),
    ),
  );
}
