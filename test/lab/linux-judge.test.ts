/** Frames and sequences of frames, judged by Linux with and without Seawall: what Linux takes as a SYN never passes unjudged. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { client, server } from '../../lab/topology.ts';
import { ethernet, frame, ipv4, ipv6, ipv6Extension, tcp } from '../../src/net/build.ts';
import { IPPROTO } from '../../src/net/headers.ts';
import { LINUX_SYN_OPTIONS } from '../../src/net/tcp-options.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { LinuxJudge } from '../support/linux-judge.ts';

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

const ALWAYS = { challenge: { mode: 'always' } } as const;

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
    using _guard = judge.guard(ALWAYS);
    expect(await opened()).toBe(0);
  });
});
