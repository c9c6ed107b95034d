import type { Command } from 'commander';
import { type InPlaceOf, traceCommand } from '../../src/cli/trace.ts';
import { clientSide } from '../flood-program.ts';
import { clientSideLink } from '../topology.ts';
import { demoCommand } from './demo.ts';
import { labCommand } from './lab.ts';

const inPlaceOf: InPlaceOf = (interfaceName) => {
  const link = clientSideLink(interfaceName);
  return link && { link, program: clientSide };
};

/** The verbs that the command line gains where the lab is shipped: its own, and a `trace` that knows the lab's client. */
export function verbs(): Command[] {
  return [traceCommand(inPlaceOf), labCommand(), demoCommand()];
}
