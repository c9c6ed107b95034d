/** Each kind of link: a flood is stopped there and a client gets through a challenge, or the interface is refused by name. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { formFeature } from '../../src/engine/challenger.ts';
import { type PolicyInput, protect } from '../../src/index.ts';
import { frame, ipv4, tcp } from '../../src/net/build.ts';
import { LINUX_SYN_OPTIONS } from '../../src/net/tcp-options.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { CLI, Running } from '../support/cli.ts';
import { LINK, LinkLab, linkTypes, linkTypesHere } from '../support/link-kinds.ts';

const LAB = 'seawall-link';
const BYTES = 2_000_000;
const PAGE = `${String(BYTES)} ${createHash('sha256').update(Buffer.alloc(BYTES, 'the same again ')).digest('hex')}`;
const FORMS = (['assign', 'kernel', 'reset'] as const).filter((form) => formFeature(form)?.available ?? true);
const SYNS = 300;
const LIMITED: PolicyInput = { challenge: { mode: 'off' }, limits: { source: { rate: '1/h', burst: 5 } } };

describeAsRoot('links of each kind', () => {
  const types = process.getuid?.() === 0 ? linkTypesHere() : [];
  describe.each(types)('$name', (type) => {
    const { families, mode, refused } = type;

    if (refused) {
      it('is refused by name', async () => {
        using lab = await LinkLab.create(LAB, type);
        expect(() => lab.server.run(() => protect(LINK))).toThrow(refused);
      });
      return;
    }

    it('a client gets through each form of challenge', async () => {
      using lab = await LinkLab.create(LAB, type);
      await lab.serve(BYTES);
      for (const form of FORMS) {
        const challenge = { mode: 'always', form, 'set-sysctls': true } as const;
        using protection = lab.server.run(() => protect(LINK, { challenge }));
        const fetched = families.map((family) => lab.fetch(family));
        const { challenged } = protection.stats().reasons;
        expect({ form, mode: protection.mode, fetched, challenged }).toEqual({
          form,
          mode,
          fetched: families.map(() => PAGE),
          challenged: BigInt(families.length),
        });
      }
    });

    it('a flood is stopped', async () => {
      using lab = await LinkLab.create(LAB, type);
      await lab.serve(1);
      using protection = lab.server.run(() => protect(LINK, LIMITED));
      for (const family of families) lab.flood(family, SYNS);
      const { reasons } = protection.stats();
      expect(reasons['within-limit']).toBe(BigInt(5 * families.length));
      expect(reasons['over-source']).toBeGreaterThanOrEqual(BigInt((SYNS - 5) * families.length));
    });
  });

  it.each(types.filter(({ name }) => ['veth', 'veth whose other end runs XDP', 'tun'].includes(name)))(
    'a SYN with a wrong checksum gets no answer on $name',
    async (type) => {
      using lab = await LinkLab.create(LAB, type);
      await lab.serve(1);
      using protection = lab.server.run(() => protect(LINK, { challenge: { mode: 'always' } }));
      const syns = (checksum?: number): Buffer[] =>
        Array.from({ length: 50 }, (_, index) =>
          frame([
            ipv4({ src: `10.0.0.${String(100 + index)}` }),
            tcp({ options: LINUX_SYN_OPTIONS, ...(checksum === undefined ? {} : { checksum }) }),
          ]),
        );
      lab.send([...syns(0xbad), ...syns()]);
      const counted = (): unknown => {
        const { challenged, 'tcp-checksum': wrong } = protection.stats().reasons;
        return { challenged, wrong };
      };
      await expect.poll(counted).toEqual({ challenged: 50n, wrong: 50n });
    },
  );

  it('native mode, where answers are lost, is a wish that is granted with a warning', async () => {
    using lab = await LinkLab.create(
      LAB,
      linkTypes.find(({ name }) => name === 'veth')!,
    );
    const run = (...args: string[]): Running =>
      new Running('nsenter', [`--net=${lab.server.path}`, process.execPath, CLI, 'run', '-i', LINK, ...args]);
    {
      await using seawall = run();
      await seawall.until(/not native: the other end of this veth pair has no XDP program/);
    }
    await using seawall = run('--mode', 'native');
    await seawall.until(/protecting link0 \(native mode/);
    await seawall.until(/link0: answers of challenges do not arrive in native mode: the other end/);
  });

  it('the loopback device is refused', () => {
    expect(() => protect('lo')).toThrow(/lo is the loopback device/);
  });
});
