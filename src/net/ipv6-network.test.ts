import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { expect, it } from 'vitest';
import { cidrContains, formatCidr, parseCidr } from './address.ts';
import { packIpv6, packedBits, readIpv6, unpackIpv6, widenIpv6 } from './ipv6-network.ts';

const address = fc.uint8Array({ minLength: 16, maxLength: 16 });
const bits = fc.integer({ min: 0, max: 128 });
const read = (text: string): string | undefined => readIpv6(`x${text}y`, 1, text.length + 1);

it('reads every address in its short and its long form', () => {
  fc.assert(
    fc.property(address, bits, (bytes, length) => {
      const parsed = ipaddr.fromByteArray([...bytes]) as ipaddr.IPv6;
      const whole = parsed.parts.map((part) => part.toString(16).padStart(4, '0')).join(':');
      for (const text of [parsed.toString(), parsed.toNormalizedString(), whole, whole.toUpperCase()]) {
        expect(read(`${text}/${String(length)}`)).toBe(packIpv6({ address: bytes, bits: length }));
        expect(unpackIpv6(read(text)!)).toEqual({ address: Buffer.from(bytes), bits: 128 });
      }
    }),
  );
});

it('reads nothing that is no address, and nothing wrongly', () => {
  const piece = fc.constantFrom('0', '1', 'ab', 'FFFF', '12345', ':', '::', '/', '64', '129', 'g', '.', '%', ' ');
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 18 }), (pieces) => {
      const text = pieces.join('');
      const packed = read(text);
      if (packed !== undefined) expect(packed).toBe(packIpv6(parseCidr(text)));
    }),
    { numRuns: 20_000 },
  );
  for (const rare of ['::ffff:1.2.3.4', '1::2::3', ':1::', '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', '::/', '::/-1', ''])
    expect(read(rare)).toBe(undefined);
});

it('widens networks', () => {
  fc.assert(
    fc.property(address, bits, bits, (bytes, one, other) => {
      const [narrow, wide] = [Math.max(one, other), Math.min(one, other)];
      const packed = packIpv6({ address: bytes, bits: narrow });
      const around = widenIpv6(packed, wide);
      expect(packedBits(around)).toBe(wide);
      expect(cidrContains(unpackIpv6(around), bytes)).toBe(true);
      expect(formatCidr(unpackIpv6(around))).toBe(formatCidr(unpackIpv6(packIpv6({ address: bytes, bits: wide }))));
    }),
  );
});
