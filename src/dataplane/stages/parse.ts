/** Reading a frame down to TCP. The reading itself is in frame/: the program in traffic control reads in the same way. */
import { ethernet, frame as frameOf, ipv4, ipv6, tcp, udp, vlan } from '../../net/build.ts';
import { ETH_P } from '../../net/headers.ts';
import type { ParseReason } from '../frame/leave.ts';
import type { ReasonDefinition } from '../outcome/verdict.ts';
import { stage } from '../stage.ts';

const reasons: Record<ParseReason, ReasonDefinition> = {
  'not-ip': { number: 0, verdict: 'pass', often: true, description: 'no IPv4 or IPv6 packet inside' },
  'not-tcp': { number: 1, verdict: 'pass', often: true, description: 'another protocol than TCP' },
  'later-fragment': {
    number: 2,
    verdict: 'pass',
    description: 'a fragment without a TCP header (`fragments.later = "pass"`)',
  },
  truncated: { number: 10, verdict: 'drop', description: 'too short for the headers it claims' },
  'bad-ip-header': { number: 11, verdict: 'drop', description: 'an IP version or header length that cannot be' },
  'bad-length': {
    number: 12,
    verdict: 'drop',
    description:
      'a packet whose length says more than the frame holds, or less than its headers; a first fragment without all of them (RFC 7112)',
  },
  'vlan-depth': { number: 13, verdict: 'drop', description: 'more than two VLAN tags' },
  'ipv6-chain': { number: 14, verdict: 'drop', description: 'more than eight IPv6 extension headers' },
  'tiny-fragment': {
    number: 15,
    verdict: 'drop',
    description: 'a fragment that would overwrite the flags of a TCP header (RFC 3128)',
  },
  fragment: { number: 16, verdict: 'drop', description: 'a fragment, where the policy drops them' },
  'bad-tcp-header': {
    number: 17,
    verdict: 'drop',
    description: 'a TCP header length below five words, or beyond the segment',
  },
};

export const parse = stage({
  name: 'parse',
  decides: 'A frame is read down to TCP. Other protocols pass; packets with inconsistent lengths are dropped.',
  reasons,
  maps: [],
  reads: ['fragments'],
  explain({ frame: { eth, vlans, ip, tcp: header }, length }) {
    const parts = [`${String(length)} bytes`];
    if (eth) parts.push(`type 0x${eth.proto.toString(16).padStart(4, '0')}`);
    if (vlans.length > 0) parts.push(`VLAN ${vlans.join(' in ')}`);
    if (ip) parts.push(`IPv${String(ip.version)} ${ip.src} > ${ip.dst}, protocol ${String(ip.protocol)}`);
    if (ip?.extensions.length) parts.push(`extension headers ${ip.extensions.join(', ')}`);
    if (header) parts.push(`TCP ${String(header.source)} > ${String(header.dest)}`);
    return parts.join(', ');
  },
  canned: [
    {
      shows: 'ARP',
      data: frameOf([ethernet({ proto: ETH_P.ARP })], new Uint8Array(28)),
      verdict: 'pass',
      reason: 'not-ip',
    },
    { shows: 'UDP over IPv4', data: frameOf([ethernet(), ipv4(), udp()]), verdict: 'pass', reason: 'not-tcp' },
    {
      shows: 'UDP over IPv6 in a VLAN',
      data: frameOf([ethernet(), vlan(), ipv6(), udp()]),
      verdict: 'pass',
      reason: 'not-tcp',
    },
    {
      shows: 'a truncated TCP header',
      data: frameOf([ethernet(), ipv4(), tcp()]).subarray(0, 40),
      verdict: 'drop',
      reason: 'bad-length',
    },
    {
      shows: 'a false length',
      data: frameOf([ethernet(), ipv4({ totalLength: 1400 }), tcp()]),
      verdict: 'drop',
      reason: 'bad-length',
    },
  ],
});
