/** Checksums that the kernel side folds, where carries come out of carries. */
import { expect, it } from 'vitest';
import { arrayMap, Program, struct, u64, XDP, xdp } from '../../src/ebpf/index.ts';
import { DEFAULT_STACK } from '../../src/dataplane/cookie/challenger.ts';
import { addressBytes } from '../../src/net/address.ts';
import { ethernet, frame, ipv4, tcp } from '../../src/net/build.ts';
import {
  foldSum,
  foldWideSum,
  internetChecksum,
  isWholeSum,
  pseudoHeaderSum,
  sumWords,
} from '../../src/net/checksum.ts';
import { IPPROTO } from '../../src/net/headers.ts';
import { parseFrame } from '../../src/net/parse.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { ProgramUnderTest } from '../support/program-under-test.ts';

const Case = struct('case', { sum: u64, narrow: u64, wide: u64, whole: u64 });
const cases = arrayMap('cases', { value: Case, maxEntries: 1 });
const FRAME = new Uint8Array(64);

/** A sum of 16-bit words, its carries added until there are none. */
function folded(sum: bigint): bigint {
  let rest = sum;
  while (rest > 0xffffn) rest = (rest & 0xffffn) + (rest >> 16n);
  return rest;
}

/** Around each number that a carry begins or ends at. */
const EDGES = [0x1_0000n, 0x1_fffen, 0x1_ffffn, 0xffff_0000n, 0xffff_ffffn, 0x1_0000_0000n, 0xffff_ffff_0000n]
  .concat([0x1_ffff_0000n, 0x1_ffff_ffffn, 0xffff_ffff_ffffn, 0xfffe_ffff_0001n, 0x7fff_ffff_ffff_ffffn])
  .flatMap((edge) => [edge - 2n, edge - 1n, edge, edge + 1n, edge + 2n]);

describeAsRoot('checksums in the kernel', () => {
  it('carry as often as it takes', () => {
    using program = Program.load(
      xdp('folding', ($) => {
        const at = $.at(cases, 0);
        const { sum } = at;
        at.set({ narrow: foldSum(sum.u32()).u64(), wide: foldWideSum(sum).u64() });
        at.set({ whole: $.select(isWholeSum(sum), $.u64(1), $.u64(0)) });
        return XDP.PASS;
      }),
    );
    const map = program.map(cases);
    for (const sum of EDGES) {
      map.update(0, { sum, narrow: 0n, wide: 0n, whole: 0n });
      program.testRun({ data: FRAME });
      const narrow = folded(sum & 0xffff_ffffn);
      const whole = BigInt(sum % 0xffffn === 0n);
      expect(map.lookup(0)).toEqual({ sum, narrow, wide: folded(sum), whole });
    }
  });

  it.each(['10.0.0.0', '198.51.0.0', '223.255.0.0'])('of an answer hold where its header carries: %s', (network) => {
    using kernel = new ProgramUnderTest({ challenge: { mode: 'always' } }, { form: 'reset', stack: DEFAULT_STACK });
    const dst = '10.0.0.10';
    const header = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, ...addressBytes(dst), ...addressBytes(network)];
    // With this lower half the sum is 0xffff; with one more it carries.
    const exact = 0xffff - sumWords(Uint8Array.from(header));
    for (const lower of [exact - 1, exact, exact + 1, exact + 2]) {
      const src = network.replace(/0\.0$/, `${String(lower >> 8)}.${String(lower & 0xff)}`);
      const syn = frame([ethernet(), ipv4({ src, dst }), tcp({ options: [{ kind: 'mss', size: 1460 }] })]);
      const { verdict, data } = kernel.at(1n << 40n).judge(syn);
      const { ip } = parseFrame(data);
      const segment = data.subarray(34, 14 + 40);
      const pseudo = pseudoHeaderSum(addressBytes(dst), addressBytes(src), IPPROTO.TCP, segment.length);
      const sums = [internetChecksum(data.subarray(14, 34)), internetChecksum(segment, pseudo)];
      expect([src, verdict, ip?.dst, sums]).toEqual([src, 'answer', src, [0, 0]]);
    }
  });
});
