import { interfaceNameProblem } from '../net/interface-name.ts';
import { UsageError } from './exit-status.ts';

/** @throws UsageError for a name that no interface can have. */
export function checkInterface(name: string): void {
  const problem = interfaceNameProblem(name);
  if (problem !== undefined) throw new UsageError(`-i: ${problem}`);
}
