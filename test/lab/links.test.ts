import { rmSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { LAB_INTERFACE, labDown, labUp, namespaceOf, server, client } from '../../lab/topology.ts';
import {
  arrayMap,
  BPF_FILE_SYSTEM,
  BpfMap,
  DslError,
  interfaceIndex,
  kernelAtLeast,
  Program,
  readInterface,
  SyscallError,
  TC,
  tc,
  TcLink,
  u32,
  unpin,
  xdp,
  XDP,
  XdpLink,
} from '../../src/ebpf/index.ts';
import { injectFaults } from '../../src/ebpf/sys/fault.ts';
import { Trace } from '../../src/tools/trace.ts';
import { describeAsRoot } from '../support/as-root.ts';

const LAB = 'seawall-links';
const passing = xdp('passing', () => XDP.PASS);
const dropping = xdp('dropping', () => XDP.DROP);
const there = namespaceOf(server, LAB);

const state = (): ReturnType<typeof readInterface> => there.run(() => readInterface(interfaceIndex(LAB_INTERFACE)!));
const attach = (program: Program, mode: 'auto' | 'native' | 'generic' = 'auto'): XdpLink =>
  there.run(() => XdpLink.attach(program, LAB_INTERFACE, { mode }));

describeAsRoot('links', () => {
  beforeAll(() => {
    labDown(LAB);
    labUp(LAB, { bare: true });
  });
  afterAll(() => {
    labDown(LAB);
  });

  it('leaves nothing of a trace that cannot read its ring', () => {
    injectFaults((call) => (call === 'mmap' ? 'ENOMEM' : undefined));
    try {
      expect(() => there.run(() => new Trace(LAB_INTERFACE, { mode: 'generic' }))).toThrow(/mmap failed with ENOMEM/);
    } finally {
      injectFaults(undefined);
    }
    expect(state().xdp).toEqual({});
  });

  it.each([
    ['auto', 'native'],
    ['native', 'native'],
    ['generic', 'generic'],
  ] as const)('mode %s runs %s, and the end of the link is the end of the program there', (mode, runs) => {
    using program = Program.load(passing);
    {
      using link = attach(program, mode);
      expect([link.mode, link.fallback]).toEqual([runs, undefined]);
      expect(state().xdp).toEqual({ [runs]: program.info.id });
      expect(link.info.programId).toBe(program.info.id);
    }
    expect(state().xdp).toEqual({});
  });

  it('falls back to generic where the driver refuses native, and says why', () => {
    // Segmentation offloads with an MTU beyond a page are what veth refuses.
    there.ip('link', 'set', LAB_INTERFACE, 'mtu', '9000');
    namespaceOf(client, LAB).ip('link', 'set', LAB_INTERFACE, 'mtu', '9000');
    try {
      using program = Program.load(passing);
      {
        using link = attach(program);
        expect(link.mode).toBe('generic');
        expect(link.fallback).toMatch(/refused native mode \(\w+\)/);
      }
      expect(() => attach(program, 'native')).toThrow(/in native mode: .*\(veth\).*MTU 9000/);
    } finally {
      there.ip('link', 'set', LAB_INTERFACE, 'mtu', '1500');
      namespaceOf(client, LAB).ip('link', 'set', LAB_INTERFACE, 'mtu', '1500');
    }
  });

  it('refuses to push a foreign program aside, and names it', () => {
    using foreign = Program.load(dropping);
    using _link = attach(foreign);
    using program = Program.load(passing);
    expect(() => attach(program)).toThrow(
      new RegExp(`EBUSY; program dropping \\(id ${String(foreign.info.id)}, native\\) is there already`),
    );
    expect(state().xdp.native).toBe(foreign.info.id);
  });

  it('refuses a program of the other kind, and says which link takes it', () => {
    using frames = Program.load(passing);
    using packets = Program.load(tc('packets', () => TC.OK));
    expect(() => attach(packets)).toThrow(DslError);
    expect(() => attach(packets)).toThrow(
      /attach program packets by XdpLink: it is a program of traffic control; TcLink\.attach takes it/,
    );
    expect(() => there.run(() => TcLink.attach(frames, LAB_INTERFACE))).toThrow(
      /attach program passing by TcLink: it is an XDP program; XdpLink\.attach takes it/,
    );
    using link = attach(frames);
    expect(() => {
      link.update(packets);
    }).toThrow(/attach program packets by XdpLink: it is a program of traffic control/);
    expect(link.programId).toBe(frames.info.id);
    if (!kernelAtLeast('6.6')) return;
    using tcLink = there.run(() => TcLink.attach(packets, LAB_INTERFACE));
    expect(() => {
      tcLink.update(frames);
    }).toThrow(/attach program passing by TcLink: it is an XDP program/);
    expect(tcLink.programId).toBe(packets.info.id);
  });

  it('names an interface that is not there', () => {
    using program = Program.load(passing);
    expect(() => XdpLink.attach(program, 'nosuch0')).toThrow(/attach to nosuch0: there is no such interface/);
    expect(() => XdpLink.attach(program, 'nosuch0')).toThrow(SyscallError);
  });

  it('swaps programs in one step, and detaches on demand', () => {
    using first = Program.load(passing);
    using second = Program.load(dropping);
    using link = attach(first);
    link.update(second);
    expect(state().xdp.native).toBe(second.info.id);
    link.detach();
    expect(state().xdp).toEqual({});
    expect(link.info.interfaceIndex).toBe(0);
  });

  it('outlives its descriptor once pinned', async () => {
    const path = `${BPF_FILE_SYSTEM}/seawall-test-links/link`;
    using program = Program.load(passing);
    {
      using link = attach(program);
      link.pin(path);
    }
    expect(state().xdp.native).toBe(program.info.id);
    {
      using found = there.run(() => XdpLink.openPinned(path));
      expect(found.mode).toBe('native');
    }
    unpin(path);
    rmSync(`${BPF_FILE_SYSTEM}/seawall-test-links`, { recursive: true });
    // The kernel lets go of what was pinned after a grace period (bpf_free_inode, kernel/bpf/inode.c).
    await expect.poll(() => state().xdp).toEqual({});
  });

  it('opens what is pinned as what it is, and as nothing else', () => {
    const path = (name: string): string => `${BPF_FILE_SYSTEM}/seawall-test-links/${name}`;
    using program = Program.load(passing);
    using packets = Program.load(tc('packets', () => TC.OK));
    using link = attach(program);
    using map = BpfMap.create(arrayMap('plain', { value: u32, maxEntries: 1 }));
    try {
      link.pin(path('xdp'));
      map.pin(path('map'));
      const open =
        (name: string): (() => unknown) =>
        () =>
          there.run(() => XdpLink.openPinned(path(name)));
      expect(open('map')).toThrow(/open pinned link .*\/map: it is a map/);
      expect(() => TcLink.openPinned(path('xdp'))).toThrow(
        /open pinned link .*\/xdp as TcLink: it is a link of another kind; use XdpLink/,
      );
      expect(() => BpfMap.openPinned(path('xdp'), map.spec)).toThrow(/open pinned map .*\/xdp: it is a link/);
      if (!kernelAtLeast('6.6')) return;
      using tcLink = there.run(() => TcLink.attach(packets, LAB_INTERFACE));
      tcLink.pin(path('tcx'));
      expect(open('tcx')).toThrow(/open pinned link .*\/tcx as XdpLink: it is a link of another kind; use TcLink/);
    } finally {
      rmSync(`${BPF_FILE_SYSTEM}/seawall-test-links`, { recursive: true });
    }
  });

  it('notices that the interface is gone', () => {
    using program = Program.load(passing);
    using link = attach(program);
    there.ip('link', 'del', LAB_INTERFACE);
    expect(link.info.interfaceIndex).toBe(0);
  });
});
