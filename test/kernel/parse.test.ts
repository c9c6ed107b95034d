import { expect, it } from 'vitest';
import { Program, XDP } from '../../src/ebpf/index.ts';
import { clockFromMap } from '../../src/dataplane/clock.ts';
import { protection } from '../../src/dataplane/program.ts';
import { type ReasonName, reasons } from '../../src/dataplane/reason.ts';
import { ethernet, frame, ipv4, ipv6, tcp, udp, vlan } from '../../src/net/build.ts';
import { checkLimits } from '../../src/policy/limits.ts';
import { describeAsRoot } from '../support/as-root.ts';

const syn = frame([ethernet(), ipv4(), tcp()]);
const withOptions = (bytes: number): Buffer =>
  frame([ethernet(), ipv4({ options: new Uint8Array(bytes).fill(1) }), tcp()]);

/** What it shows, the frame, the reason. */
const TABLE: readonly (readonly [string, Uint8Array, ReasonName])[] = [
  ['a SYN', syn, 'within-limit'],
  ['a SYN with four bytes of IPv4 options', withOptions(4), 'within-limit'],
  ['a SYN with forty bytes of IPv4 options', withOptions(40), 'within-limit'],
  ['a SYN with ECN flags', frame([ethernet(), ipv4(), tcp({ flags: ['SYN', 'ECE', 'CWR'] })]), 'within-limit'],
  ['a SYN with FIN is still a SYN', frame([ethernet(), ipv4(), tcp({ flags: ['SYN', 'FIN'] })]), 'within-limit'],
  ['the first fragment of a SYN', frame([ethernet(), ipv4({ fragment: 0x2000 }), tcp()]), 'within-limit'],
  ['a SYN-ACK', frame([ethernet(), ipv4(), tcp({ flags: ['SYN', 'ACK'] })]), 'not-syn'],
  ['an ACK', frame([ethernet(), ipv4(), tcp({ flags: ['ACK'] })]), 'not-syn'],
  ['a RST', frame([ethernet(), ipv4(), tcp({ flags: ['RST'] })]), 'not-syn'],
  ['no flags at all', frame([ethernet(), ipv4(), tcp({ flags: [] })]), 'not-syn'],
  ['UDP', frame([ethernet(), ipv4(), udp()]), 'not-tcp'],
  ['a later fragment', frame([ethernet(), ipv4({ fragment: 3 }), tcp()]), 'fragment'],
  ['IPv6', frame([ethernet(), ipv6(), tcp()]), 'not-ip'],
  ['a VLAN tag', frame([ethernet(), vlan(), ipv4(), tcp()]), 'not-ip'],
  ['an empty Ethernet frame', frame([ethernet({ proto: 0x0800 })]), 'truncated'],
  ['an IPv4 header length below five', frame([ethernet(), ipv4({ versionIhl: 0x44 }), tcp()]), 'truncated'],
  ['IPv4 options that reach over the end', frame([ethernet(), ipv4({ versionIhl: 0x4f }), tcp()]), 'truncated'],
  ...Array.from(
    { length: 20 },
    (_, missing) =>
      [
        `a SYN that lacks ${String(missing + 1)} bytes`,
        syn.subarray(0, syn.length - missing - 1),
        'truncated',
      ] as const,
  ),
];

describeAsRoot('parse', () => {
  it.each(TABLE)('%s', (_what, data, reason) => {
    const { program, maps } = protection(checkLimits(), clockFromMap);
    using loaded = Program.load(program);
    expect(loaded.testRun({ data }).verdict).toBe(XDP.PASS.code);
    const counted = reasons.filter(({ index }) =>
      loaded
        .map(maps.counters)
        .lookup(index)!
        .some((count) => count > 0n),
    );
    expect(counted.map(({ name }) => name)).toEqual([reason]);
  });
});
