import { execFileSync } from 'node:child_process';

/** Whether a tool from outside is installed. Without it its tests are skipped; in CI that is a failure. */
export function hasTool(name: string, versionOption = '--version'): boolean {
  try {
    execFileSync(name, [versionOption], { stdio: 'ignore' });
    return true;
  } catch {
    if (process.env['CI']) throw new Error(`${name} is missing, and CI must not skip its tests`);
    return false;
  }
}
