import { expect, it } from 'vitest';
import { arrayMap, Program, u64, XDP, xdp } from '../../src/ebpf/index.ts';
import { sipHash } from '../../src/dataplane/cookie/siphash.ts';
import { describeAsRoot } from '../support/as-root.ts';

/** Key and messages of the reference implementation (github.com/veorq/SipHash, vectors.h): bytes 00 01 02 ..., whole words. */
const KEY = [0x0706050403020100n, 0x0f0e0d0c0b0a0908n] as const;
const VECTORS: readonly (readonly [number, bigint])[] = [
  [0, 0x726fdb47dd0e0e31n],
  [1, 0x93f5f5799a932462n],
  [2, 0x3f2acc7f57c29bdbn],
];

const word = (index: number): bigint => {
  const bytes = Buffer.from(Array.from({ length: 8 }, (_, at) => index * 8 + at));
  return bytes.readBigUInt64LE();
};

describeAsRoot('SipHash-2-4', () => {
  it.each(VECTORS)('gives the published hash of %i words', (length, expected) => {
    const output = arrayMap('output', { value: u64, maxEntries: 1 });
    using program = Program.load(
      xdp('siphash', ($) => {
        const message = Array.from({ length }, (_, index) => $.u64(word(index)));
        const hash = sipHash($, [$.u64(KEY[0]), $.u64(KEY[1])], message, { compression: 2, finalization: 4 });
        $.at(output, 0).ref('value').set(hash);
        return XDP.PASS;
      }),
    );
    program.testRun({ data: new Uint8Array(14) });
    expect(program.map(output).lookup(0)).toBe(expected);
  });
});
