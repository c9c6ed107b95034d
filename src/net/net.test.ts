import fc from 'fast-check';
import { expect, it } from 'vitest';
import { addressBytes, formatAddress, formatIpv4, ipv4Number, parseCidr, parseMac } from './address.ts';
import { ethernet, frame, ipv4, ipv6, ipv6Extension, tcp, udp, vlan } from './build.ts';
import { internetChecksum, pseudoHeaderSum } from './checksum.ts';
import { ETH_P, IPPROTO } from './headers.ts';
import { parseFrame } from './parse.ts';
import { decodeTcpOptions, encodeTcpOptions, type TcpOption } from './tcp-options.ts';

it('sums like the example of RFC 1071', () => {
  expect(internetChecksum(Buffer.from('0001f203f4f5f6f7', 'hex'))).toBe(~0xddf2 & 0xffff);
  expect(internetChecksum(Buffer.from('01', 'hex'))).toBe(0xfeff);
});

it('reads back what it built, with right checksums, through every kind of header', () => {
  const port = fc.integer({ min: 0, max: 65535 });
  const layers = fc.record({
    six: fc.boolean(),
    tags: fc.integer({ min: 0, max: 2 }),
    options: fc.integer({ min: 0, max: 10 }),
    source: port,
    dest: port,
    payload: fc.uint8Array({ maxLength: 64 }),
  });
  fc.assert(
    fc.property(layers, ({ six, tags, options, source, dest, payload }) => {
      const outer = [
        ethernet(),
        ...Array.from({ length: tags }, (_, index) =>
          vlan({ id: index + 5, type: index === 0 && tags === 2 ? ETH_P.QINQ : ETH_P.VLAN }),
        ),
      ];
      const network = six
        ? [ipv6(), ...(options > 0 ? [ipv6Extension(IPPROTO.DSTOPTS, new Uint8Array(options * 8 - 2))] : [])]
        : [ipv4({ options: new Uint8Array(options * 4).fill(1) })];
      const built = frame([...outer, ...network, tcp({ source, dest, flags: ['SYN', 'ECE'] })], payload);
      const parsed = parseFrame(built);
      expect(parsed.vlans).toEqual([5, 6].slice(0, tags));
      expect(parsed.tcp).toMatchObject({ source, dest, flags: 0x42 });
      expect(parsed.payloadLength).toBe(payload.length);
      const segment = built.subarray(built.length - payload.length - 20);
      const [from, to] = [parsed.ip!.src, parsed.ip!.dst].map((address) => addressBytes(address));
      expect(internetChecksum(segment, pseudoHeaderSum(from!, to!, IPPROTO.TCP, segment.length))).toBe(0);
    }),
  );
});

it('knows UDP', () => {
  expect(parseFrame(frame([ethernet(), ipv4(), udp({ source: 1, dest: 2 })], Buffer.from('hello')))).toMatchObject({
    udp: { source: 1, dest: 2, length: 13 },
    payloadLength: 5,
  });
});

it('makes nothing of noise, and never throws', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 120 }), (noise) => void parseFrame(Buffer.from(noise))));
});

it('encodes and decodes TCP options', () => {
  const options: TcpOption[] = [
    { kind: 'mss', size: 1460 },
    { kind: 'sackPermitted' },
    { kind: 'timestamps', value: 0xdeadbeef, echo: 7 },
    { kind: 'nop' },
    { kind: 'windowScale', shift: 7 },
    { kind: 'other', number: 34, data: Uint8Array.of(1, 2) },
  ];
  const encoded = encodeTcpOptions(options);
  expect(encoded.length % 4).toBe(0);
  expect(decodeTcpOptions(encoded)).toEqual({ options, complete: true });
  expect(decodeTcpOptions(Buffer.from([2, 9, 0, 0])).complete).toBe(false);
  expect(decodeTcpOptions(Buffer.from([2, 1])).complete).toBe(false);
});

it('reads and writes addresses', () => {
  expect(formatAddress(addressBytes('fd00:0:0::10'))).toBe('fd00::10');
  expect(formatIpv4(ipv4Number('198.18.0.1'))).toBe('198.18.0.1');
  expect(parseCidr('10.0.0.0/8')).toEqual({ address: Uint8Array.of(10, 0, 0, 0), bits: 8 });
  expect(parseCidr('::1').bits).toBe(128);
  for (const wrong of ['10.0.0', '1.2.3.4.5', 'x', ''])
    expect(() => addressBytes(wrong)).toThrow(/neither an IPv4 nor/);
  for (const wrong of ['10.0.0.0/33', '10.0.0.0/-1', '10.0.0.0/x'])
    expect(() => parseCidr(wrong)).toThrow(/prefix has 0 to 32/);
  expect(Buffer.from(parseMac('02:00:00:00:00:0a')).toString('hex')).toBe('02000000000a');
  expect(() => parseMac('02:00')).toThrow(/six bytes/);
});
