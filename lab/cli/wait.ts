/** `lab wait`: waits for a condition on a host, so that scripts need not sleep. */
import { readFileSync } from 'node:fs';
import { interfaceIndex, Program, readInterface } from '../../src/ebpf/index.ts';
import { UsageError } from '../../src/cli/exit-status.ts';
import { parseCount } from '../../src/policy/units.ts';
import type { Netns } from '../netns.ts';
import { LAB_INTERFACE } from '../topology.ts';

export interface WaitOptions {
  /** A TCP port with a listener. */
  readonly listening?: string;
  /** The name of an XDP program on the host's interface. */
  readonly attached?: string;
  /** So many packets came in since the wait began. */
  readonly packets?: string;
  readonly seconds: string;
}

const LISTEN = '0A';
const POLL_MS = 20;

/** Reads /proc/net/tcp and tcp6 of this thread's network namespace: `sl local_address rem_address st ...`, numbers in hex. */
function somebodyListens(port: number): boolean {
  const wanted = port.toString(16).toUpperCase().padStart(4, '0');
  return ['tcp', 'tcp6'].some((table) =>
    readFileSync(`/proc/thread-self/net/${table}`, 'latin1')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .some(([, local, , state]) => state === LISTEN && local!.endsWith(`:${wanted}`)),
  );
}

function attachedProgram(): string | undefined {
  const { xdp } = readInterface(interfaceIndex(LAB_INTERFACE)!);
  const id = xdp.native ?? xdp.generic;
  if (id === undefined) return undefined;
  try {
    using program = Program.openById(id);
    return program.name;
  } catch {
    return undefined; // replaced meanwhile
  }
}

const receivedPackets = (): bigint => readInterface(interfaceIndex(LAB_INTERFACE)!).receivedPackets;

/** Waits until every condition that is given holds. @throws Error after `seconds`. */
export async function waitOn(netns: Netns, { listening, attached, packets, seconds }: WaitOptions): Promise<void> {
  const conditions: { readonly what: string; readonly holds: () => boolean }[] = [];
  if (listening !== undefined) {
    const port = parseCount(listening, '--listening', 1, 65_535);
    conditions.push({ what: `listener on port ${String(port)}`, holds: () => somebodyListens(port) });
  }
  if (attached !== undefined)
    conditions.push({ what: `XDP program ${attached}`, holds: () => attachedProgram() === attached });
  if (packets !== undefined) {
    const wanted = BigInt(parseCount(packets, '--packets', 1, Number.MAX_SAFE_INTEGER));
    const before = netns.run(receivedPackets);
    conditions.push({ what: `${packets} packets`, holds: () => receivedPackets() - before >= wanted });
  }
  if (conditions.length === 0) throw new UsageError('lab wait: say for what: --listening, --attached or --packets');
  const deadline = performance.now() + 1000 * parseCount(seconds, '--seconds', 1, 3600);
  for (const { what, holds } of conditions) {
    while (!netns.run(holds)) {
      if (performance.now() > deadline) throw new Error(`lab wait: no ${what} within ${seconds} s`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
}
