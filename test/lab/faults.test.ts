/** Whatever fails while a protection begins, changes or ends, everything is as it was, or gone. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { LAB_INTERFACE, labDown, labUp, namespaceOf, server } from '../../lab/topology.ts';
import { interfaceIndex, leakedDescriptors, readInterface } from '../../src/ebpf/index.ts';
import { Pins } from '../../src/engine/pins.ts';
import type { ProtectedInterface } from '../../src/engine/protect.ts';
import { type PolicyInput, protect } from '../../src/index.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { failing, tellingOf } from '../support/faults.ts';
import { trafficControl } from '../support/traffic-control.ts';

const LAB = 'seawall-faults';
const there = namespaceOf(server, LAB);
const SYSCTLS = ['tcp_syncookies', 'tcp_timestamps'];

const source = (burst: number) => ({ source: { rate: '1/h', burst } });
const assign = (burst: number): PolicyInput => ({
  challenge: { mode: 'always', form: 'assign' },
  limits: source(burst),
});
const kernel = (burst: number): PolicyInput => ({
  challenge: { mode: 'always', form: 'kernel', 'set-sysctls': true },
  limits: source(burst),
  services: [{ name: `web${String(burst)}`, ports: [80] }],
});
const denying = (...networks: string[]): PolicyInput => ({ ...assign(5), lists: { deny: networks } });

const attached = () => ({ xdp: readInterface(interfaceIndex(LAB_INTERFACE)!).xdp, tcx: trafficControl(LAB_INTERFACE) });
const sysctls = (): string[] => SYSCTLS.map((name) => readFileSync(`/proc/sys/net/ipv4/${name}`, 'latin1').trim());
const ours = () => ({
  descriptors: readdirSync('/proc/self/fd').length,
  open: leakedDescriptors().length,
  mappings: readFileSync('/proc/self/maps', 'latin1').match(/bpf-map/g)?.length ?? 0,
});
const pinned = () => {
  const pins = new Pins(LAB_INTERFACE);
  if (!existsSync(pins.directory)) return undefined;
  const { state } = pins.open() ?? {};
  return { state, names: readdirSync(pins.directory, { recursive: true, encoding: 'utf8' }).toSorted() };
};
const everything = () => ({ attached: attached(), sysctls: sysctls(), pinned: pinned(), ours: ours() });
const begin = (policy: PolicyInput): ProtectedInterface => protect(LAB_INTERFACE, policy, { pin: true });

describeAsRoot('faults', () => {
  let nothing: ReturnType<typeof everything>;
  const within = (name: string, test: () => void): void => {
    it(name, () => there.run(test), 600_000);
  };
  beforeAll(() => {
    labDown(LAB);
    labUp(LAB);
    there.run(() => {
      // Caches are filled, so that all attempts do the same.
      for (const policy of [assign(5), assign(6), kernel(5), kernel(6)]) begin(policy)[Symbol.dispose]();
      nothing = everything();
    });
  });
  afterAll(() => {
    labDown(LAB);
  });

  const NONE = -1;

  it.each([
    ['assign', assign(5), ['MAP_CREATE', 'PROG_LOAD', 'PROG_TEST_RUN', 'OBJ_PIN', 'LINK_CREATE', 'mmap']],
    ['kernel', kernel(5), ['writeFileSync /proc/sys/net/ipv4/tcp_syncookies']],
  ])(
    'a start that fails leaves nothing: %s',
    (_form, policy, some) => {
      there.run(() => {
        let made: ProtectedInterface | undefined;
        const start = (): void => {
          made = begin(policy);
        };
        const { effects } = failing(NONE, start);
        expect(effects).toEqual(expect.arrayContaining(some));
        made?.[Symbol.dispose]();
        for (const at of tellingOf(effects)) {
          made = undefined;
          const { error } = failing(at, start);
          // Some things can be done in another way: a program that is not taken from the cache is compiled.
          expect(made === undefined, effects[at]).toBe(error !== undefined);
          (made as ProtectedInterface | undefined)?.[Symbol.dispose]();
          expect(everything(), effects[at]).toEqual(nothing);
        }
      });
    },
    600_000,
  );

  within('a takeover that fails leaves what it found', () => {
    let left = begin(assign(5));
    let taken: ProtectedInterface | undefined;
    const take = (): void => {
      taken = begin(assign(6));
    };
    const again = (): void => {
      taken?.[Symbol.dispose]();
      taken = undefined;
      left[Symbol.dispose]();
      left = begin(assign(5));
    };
    const { effects } = failing(NONE, take);
    expect(effects).toContain('LINK_UPDATE');
    again();
    for (const at of tellingOf(effects)) {
      const before = everything();
      if (failing(at, take).error === undefined) again();
      else expect(everything(), effects[at]).toEqual(before);
    }
    left[Symbol.dispose]();
    expect(everything()).toEqual(nothing);
  });

  it.each([
    ['another limit', assign(5), assign(6)],
    ['another form, and services by other names', assign(5), kernel(5)],
    ['sysctls that are not needed any more', kernel(5), assign(5)],
    ['lists in place', denying('10.9.0.0/16', '2001:db8::/32'), denying('10.9.1.0/24', '2001:db8:1::/48')],
  ])(
    'a change that fails changes nothing: %s',
    (_what, from, to) => {
      there.run(() => {
        const protection = begin(from);
        const state = () => {
          const { reasons, services } = protection.stats();
          // Neighbours are looked for meanwhile.
          const counted = { ...reasons, 'not-tcp': 0n, 'not-ip': 0n };
          return { ...everything(), policy: protection.policy, counted, services };
        };
        const change = (): void => {
          protection.update(to);
        };
        const { effects } = failing(NONE, change);
        expect(effects).toContain('OBJ_PIN');
        protection.update(from);
        for (const at of tellingOf(effects)) {
          const before = state();
          if (failing(at, change).error === undefined) protection.update(from);
          else expect(state(), effects[at]).toEqual(before);
        }
        protection[Symbol.dispose]();
        expect(everything()).toEqual(nothing);
      });
    },
    600_000,
  );

  it.each([
    ['assign', assign(5)],
    ['kernel', kernel(5)],
  ])(
    'an end that fails in one thing does all others: %s',
    async (_form, policy) => {
      const end = (at: number) => {
        const protection = begin(policy);
        return failing(at, () => {
          protection[Symbol.dispose]();
        });
      };
      const { effects } = there.run(() => end(NONE));
      for (const at of tellingOf(effects)) {
        const failed = effects[at]!;
        there.run(() => {
          const { error } = end(at);
          const rest = everything();
          expect(rest.ours, failed).toEqual(nothing.ours);
          if (failed.startsWith('writeFileSync'))
            SYSCTLS.forEach((name, index) => {
              writeFileSync(`/proc/sys/net/ipv4/${name}`, nothing.sysctls[index]!);
            });
          else expect(rest.sysctls, failed).toEqual(nothing.sysctls);
          if (rest.pinned) {
            expect(error, failed).toBeDefined();
            new Pins(LAB_INTERFACE).remove();
          }
        });
        // Where detaching failed, the kernel lets go after a grace period.
        await vi.waitFor(() => {
          expect(there.run(everything), failed).toEqual(nothing);
        });
      }
    },
    600_000,
  );
});
