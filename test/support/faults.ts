/** Lets the n-th effect on the kernel fail, whatever it is: a bpf(2) command, a mapping, a change of pins, a sysctl. */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { injectFaults } from '../../src/ebpf/sys/fault.ts';

const ERRNO = 'ENOMEM';
const OF_FILES = ['mkdirSync', 'renameSync', 'rmdirSync', 'unlinkSync', 'writeFileSync'] as const;
/** What pins and sysctls are; other files are caches and the like. */
const OURS = /\/sys\/fs\/bpf\/|^\/proc\/sys\//;

export interface Attempted {
  /** The effects that were asked for, in their order. */
  readonly effects: readonly string[];
  readonly error: unknown;
}

/** Runs an action whose effect at this index fails. */
export function failing(at: number, action: () => void): Attempted {
  const effects: string[] = [];
  const fails = (effect: string): boolean => effects.push(effect) === at + 1;
  const genuine = Object.fromEntries(OF_FILES.map((name) => [name, fs[name]]));
  injectFaults((call) => (fails(call) ? ERRNO : undefined));
  for (const name of OF_FILES) {
    const real = fs[name] as (...args: unknown[]) => unknown;
    Object.assign(fs, {
      [name]: (...args: unknown[]) => {
        const path = String(args[0]);
        if (OURS.test(path) && fails(`${name} ${path}`))
          throw Object.assign(new Error(`${ERRNO}: ${name} ${path}`), { code: ERRNO, syscall: name });
        return real(...args);
      },
    });
  }
  syncBuiltinESMExports();
  let error: unknown;
  try {
    action();
  } catch (thrown) {
    error = thrown;
  } finally {
    injectFaults(undefined);
    Object.assign(fs, genuine);
    syncBuiltinESMExports();
  }
  return { effects, error };
}

/** The indices of effects to let fail: all of them with FAULTS=all, else the first and the last of each kind. */
export function tellingOf(effects: readonly string[]): number[] {
  if (process.env['FAULTS'] === 'all') return [...effects.keys()];
  const kind = (effect: string): string => effect.split(' ')[0]!;
  const kinds = effects.map(kind);
  return [...kinds.keys()].filter((at) => kinds.indexOf(kinds[at]!) === at || kinds.lastIndexOf(kinds[at]!) === at);
}
