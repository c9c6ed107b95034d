import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { kernelClock } from '../../src/dataplane/state/clock.ts';
import { type Protection, protection } from '../../src/dataplane/pipeline.ts';
import { imageOf, parseImage, XDP } from '../../src/ebpf/index.ts';
import { injectFaults } from '../../src/ebpf/sys/fault.ts';
import { DiskCache } from '../../src/engine/cache.ts';
import { compiledPrograms, loadPrograms } from '../../src/engine/load-programs.ts';
import { ethernet, frame, ipv4, tcp, udp } from '../../src/net/build.ts';
import { resolvePolicy } from '../../src/policy/policy.ts';
import type { PolicyInput } from '../../src/policy/schema.ts';
import { describeAsRoot } from '../support/as-root.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'seawall-cache-'));
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

const made = (input: PolicyInput = {}): Protection => protection(resolvePolicy(input), { clock: kernelClock });
const refuse = (what: string): never => {
  throw new Error(what);
};
/** One that must not be generated: only its key is there. */
const unmade = (input: PolicyInput = {}): Protection => ({
  ...made(input),
  write: { program: () => refuse('written'), accept: () => refuse('written') },
  get program(): never {
    return refuse('generated');
  },
});

/** What a UDP packet and a SYN with an impossible length come to, and how many instructions that took. */
function judged(one: Protection): { verdicts: number[]; size: number } {
  const { program, accept } = loadPrograms(one, {}, new DiskCache(directory));
  try {
    const frames = [frame([ethernet(), ipv4(), udp()]), frame([ethernet(), ipv4({ totalLength: 1400 }), tcp()])];
    return { verdicts: frames.map((data) => program.testRun({ data }).verdict), size: program.size };
  } finally {
    program[Symbol.dispose]();
    accept?.[Symbol.dispose]();
  }
}

describeAsRoot('programs from the cache', () => {
  it('are those that were compiled, and are not generated again', () => {
    const first = judged(made());
    expect(first.verdicts).toEqual([XDP.PASS.code, XDP.DROP.code]);
    expect(judged(unmade())).toEqual(first);
  });

  it('are for one policy', () => {
    judged(made());
    expect(() => judged(unmade({ limits: { source: { rate: '7/s', burst: 3 } } }))).toThrow('generated');
  });

  it('are not compiled again where only a limit changes, and are what compiling gives', () => {
    const limited = (burst: number): Protection => made({ limits: { source: { rate: '20/s', burst } } });
    compiledPrograms(limited(1000), new DiskCache(directory));
    const next = limited(1234);
    const uncompiled: Protection = {
      ...next,
      get program() {
        return refuse('compiled');
      },
    };
    const [text] = JSON.parse(compiledPrograms(uncompiled, new DiskCache(directory))!.text) as string[];
    const [given, wanted] = [parseImage(text!), imageOf(next.program)];
    expect(given.insns).toEqual(wanted.insns);
    expect(given.info.lines).toEqual(wanted.info.lines);
  });

  it.each(['ENOMEM', 'EPERM', 'EMFILE'])('are not compiled anew where the kernel fails with %s', (errno) => {
    judged(made());
    injectFaults((call) => (call === 'PROG_LOAD' ? errno : undefined));
    try {
      expect(() => judged(unmade())).toThrow(`PROG_LOAD) failed with ${errno}`);
    } finally {
      injectFaults(undefined);
    }
  });

  it('are compiled anew where the kernel does not take them', () => {
    const first = judged(made());
    const [name] = readdirSync(directory);
    const file = join(directory, name!);
    writeFileSync(file, readFileSync(file, 'utf8').slice(0, -100));
    expect(judged(made())).toEqual(first);
    expect(judged(unmade())).toEqual(first);
  });
});
