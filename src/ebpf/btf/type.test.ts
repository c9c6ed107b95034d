import fc from 'fast-check';
import { expect, it } from 'vitest';
import { array, be16, be32, be64, bytes, decodeValue, encodeValue, struct, u16, u32, u64, u8 } from './type.ts';

const Inner = struct('inner', { a: u8, b: bytes(3) });
const All = struct('all', {
  u8,
  pad: u8,
  u16,
  u32,
  u64,
  be16,
  pad2: u16,
  be32,
  be64,
  list: array(Inner, 2),
});

it('lays fields out as C does, in the byte order of their names', () => {
  const encoded = encodeValue(struct('order', { a: u16, b: be16, c: be32 }), { a: 0x1234, b: 0x1234, c: 1 });
  expect(encoded.toString('hex')).toBe('3412123400000001');
  expect(All.offsets).toMatchObject({ u16: 2, u32: 4, u64: 8, be16: 16, be32: 20, be64: 24, list: 32 });
  expect(All.size).toBe(40);
});

it('decodes what it encoded', () => {
  const number = (bits: number): fc.Arbitrary<number> => fc.integer({ min: 0, max: 2 ** bits - 1 });
  const wide = fc.bigInt(0n, 2n ** 64n - 1n);
  const inner = fc.record({ a: number(8), b: fc.uint8Array({ minLength: 3, maxLength: 3 }) });
  const value = fc.record({
    u8: number(8),
    pad: number(8),
    u16: number(16),
    u32: number(32),
    u64: wide,
    be16: number(16),
    pad2: number(16),
    be32: number(32),
    be64: wide,
    list: fc.tuple(inner, inner),
  });
  fc.assert(
    fc.property(value, (given) => {
      expect(decodeValue(All, encodeValue(All, given))).toEqual(given);
    }),
  );
});

it('refuses what does not fit', () => {
  expect(() => encodeValue(u8, 256)).toThrow(RangeError);
  expect(() => encodeValue(u32, -1)).toThrow(/not between 0 and 2\^32-1/);
  const pair = struct('pair', { a: array(u8, 2), b: array(u8, 2) });
  expect(() => encodeValue(pair, { a: [1, 2, 3, 4], b: [5, 6] })).toThrow(/4 elements given, 2 needed/);
  expect(() => encodeValue(array(u8, 2), [1])).toThrow(/1 elements given, 2 needed/);
  expect(() => encodeValue(Inner, { a: 300, b: new Uint8Array(3) })).toThrow(/^encode inner\.a: 300 is not between/);
  expect(() =>
    encodeValue(struct('outer', { x: u8, list: array(Inner, 1) }), { x: 1, list: [{ a: 1 } as never] }),
  ).toThrow(/^encode outer\.list\.0\.b: 0 bytes given, 3 needed/);
  expect(() => encodeValue(struct('lone', { count: u64 }), {} as never)).toThrow(
    /^encode lone\.count: it is missing; give a whole number/,
  );
  expect(() => encodeValue(Inner, undefined as never)).toThrow(/^encode inner: give an object with all fields/);
  expect(() => encodeValue(bytes(4), new Uint8Array(3))).toThrow(/3 bytes given, 4 needed/);
});
