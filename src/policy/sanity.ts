/**
 * Checks of a SYN for properties that no real client's SYN has. Each is a drop reason of the same name. The forging tools are recognised by constants
 * that their source code writes into every packet.
 */
export const sanityChecks = {
  'syn-fin': 'a SYN with FIN: opening and closing at once (RFC 9293 knows no such segment)',
  'syn-rst': 'a SYN with RST',
  'syn-urg': 'a SYN with URG: there is no data yet to be urgent',
  'syn-payload': 'a SYN with payload; only TCP Fast Open sends one (`fast-open = true` allows it)',
  'syn-ack-number': 'a SYN with an acknowledgement number, though nothing came that could be acknowledged',
  'syn-fragment': 'a SYN in a fragment: it is 80 bytes at most and every link carries 576',
  'null-port': 'port 0 as source or destination',
  land: 'the same address as source and destination',
  'bad-source': 'a source that nobody can have: multicast, broadcast, loopback, unspecified, reserved',
  'bad-options': 'TCP options whose lengths cannot be',
  'ip-checksum': 'a wrong IPv4 header checksum',
  hping: 'window 512 and no options: hping3 by default; every stack since RFC 1122 sends its MSS',
  masscan:
    'window 1024 and an IP id that is the destination address, port and sequence number folded together: masscan',
  zmap: 'IP id 54321, window 65535 and no options but an MSS: zmap',
  mirai: 'a sequence number that is the destination address: the scanner of Mirai and its children',
} as const;

export type SanityCheck = keyof typeof sanityChecks;
export const sanityNames = Object.keys(sanityChecks) as SanityCheck[];
