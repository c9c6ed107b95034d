/** Help, and what the command line says of mistakes. */
import { expect, it } from 'vitest';
import { type Finished, commandLines, seawall } from '../support/cli.ts';

const HELP = [[], ['run'], ['trace'], ['lab'], ['lab', 'flood'], ['demo']];
const MISTAKES: readonly (readonly [readonly string[], number, RegExp])[] = [
  [['run'], 2, /name an interface with -i, or in the policy/],
  [['run', '-i', 'eth0', '--rate', 'fast'], 2, /"fast" is not a rate; .* for example 1\/s/],
  [['run', '-i', 'eth0', '--burst', '0'], 2, /--burst: "0" is not a whole number from 1/],
  [['run', '-i', 'eth0', '--port', 'http'], 2, /--port: "http"/],
  [['run', '-i', 'eth0', '--mode', 'fast'], 2, /auto, native, generic/],
  [['run', '-i', 'lo', '-i', 'eth0'], 2, /^seawall: run: -i, --interface <name> is given twice/],
  [['run', '-i', 'lo', '--port', '80', '--port=443'], 2, /^seawall: run: --port <list> is given twice/],
  [['run', 'eth0'], 2, /^seawall: run: "eth0" is not expected; seawall run --help lists the options/],
  [['run', '-i', 'eth0', '--port', '80', '443'], 2, /^seawall: run: "443" is not expected/],
  [['run', '--rates', '1/s'], 2, /^seawall: run: unknown option '--rates'; did you mean --rate\?$/m],
  [['nonsense'], 2, /^seawall: unknown command 'nonsense'/],
  [['rnu'], 2, /^seawall: unknown command 'rnu'; did you mean run\?$/m],
  [['help', 'rnu'], 2, /^seawall: unknown command 'rnu'; seawall --help lists them/],
  [['check', '/nosuch.toml'], 2, /^seawall: read \/nosuch.toml: no such file$/m],
  [[], 2, /no command given; seawall --help lists them/],
  [['lab'], 2, /no command given; seawall lab --help lists them/],
  [['trace', '-i', '../../etc'], 2, /-i: .*no slash/],
  [['detach', '-i', 'sixteen-bytes-xx'], 2, /-i: .*1 to 15 bytes/],
  [['run', '-i', 'a b'], 2, /-i: .*no white space/],
];
const [help, mistakes] = [HELP.map((verb) => [...verb, '--help']), MISTAKES.map(([args]) => args)];
const printed = commandLines([...help, ...mistakes]);

it.each(HELP.map((verb, at) => [verb, printed[at]!] as const))('%j --help', (_verb, { status, stdout }) => {
  expect(status).toBe(0);
  expect(stdout).toMatch(/^Usage: seawall/);
});

it.each(MISTAKES.map((row, at) => [...row, printed[HELP.length + at]!] as const))(
  '%j ends with status %i and one line',
  (_args, expected, message, { status, stderr }) => {
    expect([status, stderr.trim().split('\n').length]).toEqual([expected, 1]);
    expect(stderr).toMatch(message);
  },
);

it('is the same where each is a process', () => {
  expect(seawall('--help')).toEqual(printed[0]);
  expect(seawall('rnu')).toEqual(printed[HELP.length + MISTAKES.findIndex(([[verb]]) => verb === 'rnu')]);
});

it('says that it needs root', () => {
  const verbs = [['demo'], ['lab', 'up'], ['run', '-i', 'lo'], ['trace', '-i', 'lo'], ['detach', '-i', 'lo']];
  const nobody = process.getuid?.() === 0 ? ['setpriv', '--reuid=65534', '--clear-groups'] : [];
  const results: Finished[] = commandLines(verbs, ...nobody);
  for (const [at, { status, stderr }] of results.entries()) {
    expect([verbs[at], status]).toEqual([verbs[at], 3]);
    expect(stderr).toMatch(/root/);
    expect(stderr.trim().split('\n')).toHaveLength(1);
  }
});
