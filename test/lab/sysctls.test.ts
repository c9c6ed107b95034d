/** Sysctls that two processes share, each with an interface of its own. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { LAB_INTERFACE, labDown, labUp, namespaceOf, server } from '../../lab/topology.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { Running } from '../support/cli.ts';

const there = namespaceOf(server);
const read = (): string[] => ['syncookies', 'timestamps'].map((name) => there.readSysctl(`net.ipv4.tcp_${name}`));

describeAsRoot('sysctls', () => {
  const directory = mkdtempSync(join(tmpdir(), 'seawall-sysctls-'));
  const policy = join(directory, 'policy.toml');
  beforeAll(() => {
    labDown();
    labUp();
    there.ip('link', 'add', 'second', 'type', 'veth', 'peer', 'name', 'peer');
    writeFileSync(policy, '[challenge]\nmode = "always"\nform = "kernel"\nset-sysctls = true\n');
  });
  afterAll(() => {
    labDown();
    rmSync(directory, { recursive: true });
  });

  it.each([0, 1])('of two that start at once are set back by the last to stop, not by the first: %i', async (first) => {
    const before = read();
    const run = (name: string): Running => Running.seawallOn('server', 'run', '-i', name, '-c', policy);
    await using one = run(LAB_INTERFACE);
    await using other = run('second');
    const both = [one, other];
    await Promise.all(both.map((running) => running.until(/protecting/)));
    expect(read()).toEqual(['2', '2']);
    expect(await both[first]!.stop('SIGTERM')).toBe(0);
    expect(read()).toEqual(['2', '2']);
    expect(await both[1 - first]!.stop('SIGTERM')).toBe(0);
    expect(read()).toEqual(before);
  });
});
