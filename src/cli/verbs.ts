import type { Command } from 'commander';

/** The verbs of the product. Each is imported when it is asked for: what one needs, the others need not wait for. */
export const VERBS: Readonly<Record<string, () => Promise<Command>>> = {
  run: async () => (await import('./run.ts')).runCommand(),
  check: async () => (await import('./check.ts')).checkCommand(),
  replay: async () => (await import('./replay.ts')).replayCommand(),
  explain: async () => (await import('./explain.ts')).explainCommand(),
  detach: async () => (await import('./detach.ts')).detachCommand(),
};
