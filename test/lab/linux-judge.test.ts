/** Frames and sequences of frames, judged by Linux with and without Seawall: what Linux takes as a SYN never passes unjudged. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { client, server } from '../../lab/topology.ts';
import { ethernet, frame, ipv4, ipv6, ipv6Extension, tcp } from '../../src/net/build.ts';
import { IPPROTO } from '../../src/net/headers.ts';
import { LINUX_SYN_OPTIONS } from '../../src/net/tcp-options.ts';
import type { PolicyInput } from '../../src/policy/schema.ts';
import { sanityNames } from '../../src/policy/sanity.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { type Answers, LinuxJudge } from '../support/linux-judge.ts';
import { Random } from '../support/random-frame.ts';
import { randomSequence, type Sequence } from '../support/random-sequence.ts';

const eth = ethernet({ src: client.mac, dst: server.mac });
let port = 1024;
const last = (): Buffer => {
  port = port === 65_000 ? 1024 : port + 1;
  return frame([eth, ipv4({ src: '10.64.0.0' }), tcp({ source: port, options: LINUX_SYN_OPTIONS })]);
};

const fragment6 = (offset: number, more: boolean, id: number): Uint8Array => {
  const body = Buffer.alloc(6);
  body.writeUInt16BE(offset | Number(more));
  body.writeUInt32BE(id, 2);
  return body;
};

/** A chain that goes on behind the payload, in bytes that Linux cuts off: there it ends in UDP, in the next fragment in a SYN. */
function behindThePayload(slot: number): Buffer[] {
  const src = `fd00:1::${slot.toString(16)}`;
  const syn = frame([ipv6({ src }), tcp({ source: 40_000, options: LINUX_SYN_OPTIONS })]).subarray(40);
  const options = (next: number): Buffer => Buffer.from([next, 0, 1, 4, 0, 0, 0, 0]);
  const piece = (offset: number, more: boolean, data: Buffer, trailer: Buffer): Buffer => {
    const layers = [eth, ipv6({ src }), ipv6Extension(IPPROTO.FRAGMENT, fragment6(offset, more, slot))];
    const bytes = frame(layers, data);
    bytes[14 + 40] = IPPROTO.DSTOPTS;
    return Buffer.concat([bytes, trailer]);
  };
  return [
    piece(0, true, options(IPPROTO.DSTOPTS), options(IPPROTO.UDP)),
    piece(8, false, Buffer.concat([options(IPPROTO.TCP), syn]), Buffer.alloc(0)),
  ];
}

const SEQUENCES = Number(process.env['SEQUENCES'] ?? 20_000);
const SEED = Number(process.env['SEED'] ?? 1);
/** So many are in flight at once, and so many are sent before the host's protection changes. */
const BATCH = 4000;
const ROUND = 48_000;

const NO_SANITY = Object.fromEntries(sanityNames.map((name) => [name, false]));
const POLICIES: readonly PolicyInput[] = [
  { challenge: { mode: 'always' } },
  { challenge: { mode: 'always', form: 'reset' }, sanity: NO_SANITY },
];

/** The sequence of this number; the same in every generation but for its source. */
const sequenceOf = (index: number, generation = 0): Sequence =>
  randomSequence(new Random(Math.imul(index + 1, 0x9e37_79b1) ^ SEED), (index % ROUND) + 1, generation);

/** What became of it under a policy that is not as it has to be, given whether Linux alone takes it as a SYN. */
function fault({ real }: Sequence, slot: number, linux: boolean, { kernel, arrived }: Answers): string | undefined {
  if (kernel[slot] !== 0) return 'reached the host unjudged';
  if (real && linux && arrived[slot] === 0) return 'is a real client, and was not answered';
  return undefined;
}

describeAsRoot('Linux as the judge', () => {
  let judge: LinuxJudge;
  beforeAll(async () => {
    judge = await LinuxJudge.create('seawall-judge', last);
  });
  afterAll(() => {
    judge[Symbol.dispose]();
  });

  it('an IPv6 chain that goes on behind the payload of a first fragment opens connections without Seawall alone', async () => {
    const slots = Array.from({ length: 201 }, (_, index) => index + 1);
    const opened = async (): Promise<number> => {
      const { kernel } = await judge.answers(slots.flatMap(behindThePayload));
      return slots.filter((slot) => kernel[slot] !== 0).length;
    };
    {
      using _bare = judge.guard();
      expect(await opened()).toBe(201);
    }
    using _guard = judge.guard(POLICIES[0]);
    expect(await opened()).toBe(0);
  });

  it(
    `agrees on ${String(SEQUENCES)} sequences with seed ${String(SEED)}`,
    async () => {
      let [opens, real] = [0, 0];
      for (let start = 0; start < SEQUENCES; start += ROUND) {
        const indices = Array.from({ length: Math.min(ROUND, SEQUENCES - start) }, (_, index) => start + index);
        const batches = Array.from({ length: Math.ceil(indices.length / BATCH) }, (_, at) =>
          indices.slice(at * BATCH, (at + 1) * BATCH),
        );
        const linux = new Uint8Array(ROUND + 1);
        {
          using _bare = judge.guard();
          for (const batch of batches) {
            const { kernel } = await judge.answers(batch.flatMap((index) => sequenceOf(index).frames));
            for (const index of batch) linux[(index % ROUND) + 1] = kernel[(index % ROUND) + 1]!;
          }
        }
        opens += linux.reduce((sum, count) => sum + Math.min(1, count), 0);
        for (const [number, policy] of POLICIES.entries()) {
          using _guard = judge.guard(policy);
          for (const batch of batches) {
            const sequences = batch.map((index) => sequenceOf(index, number + 1));
            const answers = await judge.answers(sequences.flatMap(({ frames }) => frames));
            const faults: { readonly index: number; readonly what: string }[] = [];
            for (const [at, index] of batch.entries()) {
              const slot = (index % ROUND) + 1;
              const what = fault(sequences[at]!, slot, linux[slot] !== 0, answers);
              if (what && faults.length < 5) faults.push({ index, what });
              if (sequences[at]!.real && linux[slot] !== 0) real++;
            }
            if (faults.length > 0) {
              const texts: string[] = [];
              for (const { index, what } of faults) texts.push(await described(index, what, number));
              throw new Error(texts.join('\n'));
            }
            // What came from a source that is nobody's.
            const strangers = answers.kernel.reduce((sum, count) => sum + count, 0);
            expect({ strangers, batch: batch[0], policy: number }).toMatchObject({ strangers: 0 });
          }
        }
      }
      if (process.env['SHOW']) console.log({ opens, real });
      // The generator reaches what it is meant to.
      expect(opens).toBeGreaterThan(SEQUENCES / 5);
      expect(real).toBeGreaterThan(SEQUENCES / 5);
    },
    24 * 3_600_000,
  );

  /** A sequence that failed under the policy that is in force, without the frames that it does not need. */
  async function described(index: number, what: string, policy: number): Promise<string> {
    let generation = 100;
    let kept = sequenceOf(index).frames.map((_, at) => at);
    const fails = async (wanted: readonly number[]): Promise<boolean> => {
      const { frames, real } = sequenceOf(index, generation++);
      const answers = await judge.answers(wanted.map((at) => frames[at]!));
      return fault({ frames, real }, (index % ROUND) + 1, true, answers) !== undefined;
    };
    for (const at of kept.toReversed()) {
      const fewer = kept.filter((one) => one !== at);
      if (fewer.length > 0 && (await fails(fewer))) kept = fewer;
    }
    const { frames } = sequenceOf(index);
    const lines = kept.map((at) => `  ${frames[at]!.toString('hex')}`);
    return `sequence ${String(index)} of seed ${String(SEED)} ${what} under policy ${String(policy)}:\n${lines.join('\n')}`;
  }
});
