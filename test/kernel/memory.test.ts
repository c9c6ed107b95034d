import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  array,
  arrayMap,
  be16,
  be32,
  be64,
  bytes,
  type BytesValue,
  hashMap,
  lpmTrie,
  Program,
  struct,
  type Type,
  u16,
  u32,
  u64,
  u8,
  XDP,
  xdp,
} from '../../src/ebpf/index.ts';
import { describeAsRoot } from '../support/as-root.ts';

/** Part of `struct bpf_fib_lookup` (linux/bpf.h). */
const FibLookup = struct('bpf_fib_lookup', {
  family: u8,
  protocol: u8,
  ports: bytes(4),
  totalLength: u16,
  interfaceIndex: u32,
  flow: u32,
  source: bytes(16),
  destination: bytes(16),
  vlan: u32,
  smac: bytes(6),
  dmac: bytes(6),
});

const Flat = fc.oneof(
  fc.constantFrom<Type>(u8, u16, u32, u64, be16, be32, be64),
  fc.integer({ min: 1, max: 20 }).map((size) => bytes(size)),
);

/** A struct of these fields, with bytes before those that would not be aligned. */
function padded(types: readonly Type[]): ReturnType<typeof struct> {
  const fields: Record<string, Type> = {};
  let size = 0;
  types.forEach((type, index) => {
    const align = type.kind === 'scalar' ? type.size : 1;
    const gap = (align - (size % align)) % align;
    if (gap > 0) fields[`gap${String(index)}`] = bytes(gap);
    fields[`field${String(index)}`] = type;
    size += gap + type.size;
  });
  return struct('random', fields);
}

/** A view of a struct whose fields nobody knows; those of them that are bytes compare. */
type View = Readonly<Record<string, BytesValue>> & { set(values: object): void };

describeAsRoot('memory', () => {
  it('looks an IPv6 address up by its longest prefix, behind a length of 32 bits', () => {
    const Prefix = struct('prefix', { length: u32, address: bytes(16) });
    const networks = lpmTrie('networks', { key: Prefix, value: u32, maxEntries: 4 });
    const Question = struct('question', { skipped: be16, address: bytes(16) });
    using program = Program.load(
      xdp('longest', ($, packet) => {
        const { address } = packet.take(Question).orExit(XDP.ABORTED);
        return $.lookup(networks, { length: 128, address }).orExit(XDP.ABORTED).value;
      }),
    );
    const network = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.padEnd(32, '0'), 'hex'));
    program.map(networks).update({ length: 32, address: network('20010db8') }, 32);
    program.map(networks).update({ length: 48, address: network('20010db80007') }, 48);
    const ask = (hex: string): number =>
      program.testRun({ data: Buffer.concat([Buffer.alloc(2), network(hex), Buffer.alloc(14)]) }).verdict;
    expect([ask('20010db8000700000001'), ask('20010db80008'), ask('20010db9')]).toEqual([48, 32, 0]);
  });

  it('has keys whose bytes lie behind 16 bits', () => {
    const Station = struct('station', { vlan: be16, address: bytes(6) });
    const stations = hashMap('stations', { key: Station, value: u32, maxEntries: 4 });
    const Eth = struct('eth', { dst: bytes(6), src: bytes(6), type: be16 });
    using program = Program.load(
      xdp('stations', ($, packet) => {
        const { dst } = packet.take(Eth).orExit(XDP.ABORTED);
        return $.lookup(stations, { vlan: 7, address: dst }).orExit(XDP.ABORTED).value;
      }),
    );
    program.map(stations).update({ vlan: 7, address: Uint8Array.of(1, 2, 3, 4, 5, 6) }, 99);
    expect(program.testRun({ data: Buffer.concat([Buffer.of(1, 2, 3, 4, 5, 6), Buffer.alloc(8)]) }).verdict).toBe(99);
  });

  it('reads the address that a route look-up wrote into the frame', () => {
    const seen = arrayMap('seen', { value: struct('seen', { dmac: bytes(6), same: u16 }), maxEntries: 1 });
    using program = Program.load(
      xdp('route', ($, packet) => {
        const route = $.stack(FibLookup);
        route.set({ family: 2, interfaceIndex: packet.ingressInterface(), dmac: Uint8Array.of(9, 8, 7, 6, 5, 4) });
        const { dmac } = route;
        $.call('fib_lookup', packet, route, FibLookup.size, 0);
        $.at(seen, 0).set({ dmac });
        $.if(route.dmac.eq(dmac), () => {
          $.at(seen, 0).set({ same: 1 });
        });
        return XDP.PASS;
      }),
    );
    program.testRun({ data: new Uint8Array(64) });
    expect(program.map(seen).lookup(0)).toEqual({ dmac: Uint8Array.of(9, 8, 7, 6, 5, 4), same: 1 });
  });

  it('reaches elements of the frame by an index of the kernel', () => {
    const Hops = struct('hops', { first: be16, hops: array(struct('hop', { vlan: be16, address: bytes(6) }), 4) });
    const Word = struct('word', { index: u8, bytes: bytes(6) });
    using program = Program.load(
      xdp('hops', ($, packet) => {
        const word = packet.peek(Word).orExit(XDP.ABORTED);
        const hops = $.stack(Hops);
        hops.hops.at(word.index.and(3)).set({ vlan: 5, address: word.bytes });
        const { address } = hops.hops.at(word.index.and(3));
        $.if(address.eq(hops.hops.at(2).address), () => XDP.TX);
        return XDP.PASS;
      }),
    );
    const run = (index: number): number =>
      program.testRun({ data: Buffer.concat([Buffer.of(index, 1, 2, 3, 4, 5, 6), Buffer.alloc(8)]) }).verdict;
    expect([run(2), run(1)]).toEqual([XDP.TX.code, XDP.PASS.code]);
  });

  it('copies structs of any fields between packet, frame and map', () => {
    fc.assert(
      fc.property(fc.array(Flat, { minLength: 1, maxLength: 6 }), fc.integer({ min: 0, max: 7 }), (types, before) => {
        const Struct = padded(types);
        const align = Math.max(...types.map((type) => (type.kind === 'scalar' ? type.size : 1)));
        // The struct lies at another place in each kind of memory, so that no two are aligned alike.
        const Shifted = struct('shifted', { front: bytes(8 + before - (before % align)), inner: Struct });
        const values = arrayMap('values', { value: Struct, maxEntries: 1 });
        const names = Object.keys(Struct.fields);
        const ones = names.map((name) => {
          const type = Struct.fields[name]!;
          return [name, type.kind === 'bytes' ? new Uint8Array(type.size).fill(0xff) : 0];
        });
        const spec = xdp('copies', ($, packet) => {
          packet.skip(14 + before, { max: 64 }).orExit(XDP.ABORTED);
          const given = packet.peek(Struct).orExit(XDP.ABORTED) as View;
          const kept = $.stack(Shifted).inner as unknown as View;
          const stored = $.at(values, 0) as unknown as View;
          const fields = (of: View): object => Object.fromEntries(names.map((name) => [name, of[name]]));
          kept.set(fields(given));
          stored.set(fields(kept));
          given.set(Object.fromEntries(ones));
          for (const name of names.filter((candidate) => Struct.fields[candidate]!.kind === 'bytes')) {
            const [a, b, c] = [kept[name]!, stored[name]!, given[name]!];
            const size = Struct.fields[name]!.size;
            $.if(
              a
                .eq(b)
                .and(b.eq(a))
                .and(c.eq(new Uint8Array(size).fill(0xff)))
                .not(),
              () => XDP.DROP,
            );
          }
          given.set(fields(stored));
          return XDP.TX;
        });
        const data = Buffer.alloc(Math.max(64, 22 + Struct.size)).map((_, index) => (index * 37 + 11) & 0xff);
        using program = Program.load(spec);
        const result = program.testRun({ data });
        expect(result.verdict).toBe(XDP.TX.code);
        expect(Buffer.compare(result.data, data), result.data.toString('hex')).toBe(0);
      }),
      { numRuns: 60 },
    );
  });
});
