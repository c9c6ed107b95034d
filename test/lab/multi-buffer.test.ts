import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { client, LAB_INTERFACE, labDown, labUp, namespaceOf, server } from '../../lab/topology.ts';
import { be64, hashMap, kernelAtLeast, Program, struct, u32, u64, XDP, xdp, XdpLink } from '../../src/ebpf/index.ts';
import { Eth, ETH_P, IPPROTO, Ipv4 } from '../../src/net/headers.ts';
import { describeAsRoot } from '../support/as-root.ts';

const LAB = 'seawall-buffers';
const MTU = '9000';
/** Bytes of an echo request: Ethernet, IPv4 and ICMP headers in front of the payload. */
const HEADERS = 14 + 20 + 8;
const there = namespaceOf(server, LAB);
const here = namespaceOf(client, LAB);

const Tail = struct('tail', { bytes: be64 });
const Seen = struct('seen', { tail: be64, count: u64, linear: u32, pad: u32 });
/** Echo requests by the length of the whole frame. */
const lengths = hashMap('lengths', { key: u32, value: Seen, maxEntries: 16 });

/** Counts echo requests by length, with their last eight bytes, wherever these lie. */
const counting = (frags: boolean) =>
  xdp(
    'counting',
    ($, packet) => {
      const eth = packet.take(Eth).orExit(XDP.PASS);
      $.if(eth.proto.ne(ETH_P.IP), () => XDP.PASS);
      const ip = packet.take(Ipv4).orExit(XDP.PASS);
      $.if(ip.protocol.ne(IPPROTO.ICMP), () => XDP.PASS);
      packet.restart();
      const linear = packet.remaining().u32();
      const length = $.call('xdp_get_buff_len', packet).u32();
      const tail = $.stack(Tail);
      const loaded = $.call('xdp_load_bytes', packet, length.sub(Tail.size), tail, Tail.size);
      $.if(loaded.ne(0), () => XDP.ABORTED);
      $.lookup(lengths, length).match({
        some: (seen) => seen.ref('count').atomicAdd(1),
        none: () => {
          $.update(lengths, length, { tail: tail.bytes, count: 1, linear, pad: 0 });
        },
      });
      return XDP.PASS;
    },
    { frags },
  );

const ping = (payload: number): number | null =>
  here.run(() => {
    const args = ['-c', '3', '-i', '0.05', '-W', '2', '-M', 'do', '-p', 'ab', '-s', String(payload), server.ipv4];
    return spawnSync('ping', args).status;
  });

describeAsRoot('frames of several buffers', () => {
  beforeAll(() => {
    labDown(LAB);
    labUp(LAB, { bare: true });
    for (const host of [here, there]) host.ip('link', 'set', LAB_INTERFACE, 'mtu', MTU);
  });
  afterAll(() => {
    labDown(LAB);
  });

  it('are refused at a large MTU where the program does not take them', () => {
    using program = Program.load(counting(false));
    expect(() => there.run(() => XdpLink.attach(program, LAB_INTERFACE, { mode: 'native' }))).toThrow(
      /in native mode: .*MTU 9000/,
    );
  });

  it.skipIf(!kernelAtLeast('5.18'))('are seen whole by the helpers, and by their first buffer in place', () => {
    using program = Program.load(counting(true));
    using link = there.run(() => XdpLink.attach(program, LAB_INTERFACE, { mode: 'native' }));
    expect(link.mode).toBe('native');
    const payloads = [56, 4000, 8000];
    expect(payloads.map(ping)).toEqual([0, 0, 0]);
    const seen = new Map(program.map(lengths).entries());
    expect([...seen.keys()].toSorted((a, b) => a - b)).toEqual(payloads.map((payload) => HEADERS + payload));
    for (const [length, { count, tail, linear }] of seen) {
      expect([count, tail.toString(16)]).toEqual([3n, 'ab'.repeat(8)]);
      expect(linear).toBeGreaterThanOrEqual(HEADERS);
      if (length > 4096) expect(linear).toBeLessThan(length);
    }
  });
});
