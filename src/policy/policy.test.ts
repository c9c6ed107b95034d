import { expect, it } from 'vitest';
import { parseCidr } from '../net/address.ts';
import { refuseLockOut } from './lock-out.ts';
import { resolvePolicy } from './policy.ts';
import type { PolicyInput } from './schema.ts';
import { formatPolicy, readPolicy } from './toml.ts';
import { formatDuration, parseCount, parseDuration, parsePorts, parseRate } from './units.ts';
import { PolicyError } from './policy-error.ts';

it.each([
  ['1/s', 1_000_000_000n],
  ['10k/s', 100_000n],
  ['2M/s', 500n],
  ['30/m', 2_000_000_000n],
  ['1/h', 3_600_000_000_000n],
  ['3/s', 333_333_334n],
])('%s is one every %s ns, never more often', (text, interval) => {
  expect(parseRate(text, 'rate').interval).toBe(interval);
});

it.each(['', '1', '0/s', '-1/s', '1.5/s', '1/y', 's/1', '1 /s'])('refuses the rate "%s" and shows one', (text) => {
  expect(() => parseRate(text, '--rate')).toThrow(/^--rate: .*for example 1\/s/);
});

it('reads counts, durations and ports', () => {
  expect([parseCount('10k', '', 1, 1e6), parseDuration('5m', ''), formatDuration(300_000_000_000n)]).toEqual([
    10_000,
    300_000_000_000n,
    '5m',
  ]);
  expect(parsePorts('80, 443,8000-8100', '--port')).toEqual([
    { first: 80, last: 80 },
    { first: 443, last: 443 },
    { first: 8000, last: 8100 },
  ]);
  expect(() => parsePorts('80,http', '--port')).toThrow(/"http" is not a port; write a number from 1 to 65535/);
  for (const text of ['80,', ',80', '80,,443'])
    expect(() => parsePorts(text, '--port')).toThrow(
      /^--port: ".*" lacks a port beside a comma; write, for example, 80,443$/,
    );
  expect(() => parsePorts('80-', '--port')).toThrow(/"80-" is not a port/);
  expect(() => parsePorts('80-90-99', '--port')).toThrow(/"80-90-99" is not a port/);
  expect(() => parsePorts('90-80', '--port')).toThrow(/lower port first/);
  expect(() => parseCount('1e3', '--count', 1, 9999)).toThrow(PolicyError);
});

/** The text of a file, and the one line that names place, mistake and remedy. */
const MISTAKES: readonly (readonly [string, RegExp])[] = [
  ['[limits]\nsourse = false\n', /^p\.toml:2: limits\.sourse: unknown key; did you mean "source"\?$/],
  [
    '[limits]\n\nsource = { rate = "1/y", burst = 5 }\n',
    /^p\.toml:3: limits\.source\.rate: "1\/y" is not a rate; .* 1\/s/,
  ],
  ['[limits.source]\nrate = "1/s"\nburst = 0\n', /^p\.toml:3: limits\.source\.burst: .*(too small|whole number)/],
  [
    '[challenge]\nmode = "allways"\n',
    /^p\.toml:2: challenge\.mode: "allways" is not allowed; did you mean "always"\?$/,
  ],
  ['services = { length = { toString = "" } }\n', /^p\.toml:1: services: .* is not an array/],
  ['[limits]\nprefixes = { length = {} }\n', /^p\.toml:2: limits\.prefixes: \{"length":\{\}\} is not an array/],
  ['[challenge]\nform = {}\n', /^p\.toml:2: challenge\.form: \{\} is not allowed; use one of cookie, /],
  ['[challenge]\nform = inf\n', /^p\.toml:2: challenge\.form: "Infinity" is not allowed/],
  ['[challenge]\nremember = "1 week"\n', /^p\.toml:2: challenge\.remember: "1 week" is not a duration/],
  [
    '[lists]\ndeny = ["10.0.0.0/33"]\n',
    /^p\.toml:2: lists\.deny\.0: read network "10\.0\.0\.0\/33": the prefix has 0 to 32 bits$/,
  ],
  [
    '[[services]]\nname = "a"\n\n[[services]]\nname = "b"\nports = [70000]\n',
    /^p\.toml:6: services\.1\.ports\.0: .*65535/,
  ],
  [
    '[[services]]\nname = "a"\n\n[[services]]\nname = "a"\n',
    /^p\.toml:5: services\.1\.name: two services have the name "a"$/,
  ],
  ['[[services]]\nports = [80]\n', /^p\.toml:1: services\.0\.name: missing; a string is required$/],
  ['[sanity]\nlandd = true\n', /^p\.toml:2: sanity\.landd: .*did you mean "land"\?$/],
  ['dry-run = "yes"\n', /^p\.toml:1: dry-run: "yes" is not true or false$/],
  [
    '[limits]\nprefixes = [{ family = 4, bits = 40, rate = "1/s", burst = 1 }]\n',
    /^p\.toml:2: limits\.prefixes\.0\.bits: an IPv4 prefix has 1 to 31 bits, not 40$/,
  ],
  ['[limits]\nsource = { rate = "1/d", burst = 1000 }\n', /^p\.toml:2: limits\.source: .*30 days/],
  [
    '[limits]\nprefixes = [\n  { family = 4, bits = 24, rate = "1/s", burst = 1 },\n  { family = 4, bits = 24, rate = "2/s", burst = 1 },\n]\n',
    /^p\.toml:4: limits\.prefixes\.1: 4\/24 has a limit already/,
  ],
  ['[challenge]\nremember = "250000d"\n', /^p\.toml:2: challenge\.remember: "250000d" is not a duration up to 365d/],
  ['[lists]\ndeny = [\n  "10.0.0.0/8",\n  "nonsense"\n]\n', /^p\.toml:4: lists\.deny\.1: /],
  ['\n\nlimits = { source = { rate = "1/y", burst = 5 } }\n', /^p\.toml:3: limits\.source\.rate: /],
  ['\nlimits.source.rate = "1/y"\nlimits.source.burst = 1\n', /^p\.toml:2: limits\.source\.rate: /],
  ["[limits]\n# sourse = 1\n'sourse' = 1\n", /^p\.toml:3: limits\.sourse: .*"source"\?$/],
  ['[limits]\n"so\\u0075rse" = 1\n', /^p\.toml:2: limits\.sourse: .*"source"\?$/],
  ['"\\u001b[2J" = 1\n', /^p\.toml:1: \\u\{1b\}\[2J: unknown key/],
  ['dry-run = true\ndry-run = false\n', /^p\.toml:2: column \d+: /],
  [`dry-run = "${'x'.repeat(900_000)}"\n`, /^p\.toml:1: dry-run: .{1,200}$/],
  [`${'a'.repeat(900_000)} = 1\n`, /^p\.toml:1: .{1,1100}$/],
  ['interfaces = ["eth0",\n "../../etc"]\n', /^p\.toml:2: interfaces\.1: .*no slash/],
  ['interfaces = [""]\n', /^p\.toml:1: interfaces\.0: /],
  ['x = \n', /^p\.toml:1: column 5: /],
  [
    '[limits]\nsource = "1/s"\n',
    /^p\.toml:2: limits\.source: "1\/s" is not a table with the keys rate and burst; for example source = \{ rate = "1\/s", burst = 5 \}, or false for no limit$/,
  ],
  [
    'limits = 5\n',
    /^p\.toml:1: limits: 5 is not a table with the keys source, prefixes, service, verified and strays$/,
  ],
  [
    '[limits]\nsource = { rate = "1/s", brust = 5 }\n',
    /^p\.toml:2: limits\.source\.brust: unknown key; did you mean "burst"\?$/,
  ],
  [
    '[limits.verified]\nrate = "1/s"\nbrust = 5\n',
    /^p\.toml:3: limits\.verified\.brust: unknown key; did you mean "burst"\?$/,
  ],
  [
    '[services]\nname = "web"\n',
    /^p\.toml:1: services: \{"name":"web"\} is not an array; write \[\[services\]\] in place of \[services\], once for each$/,
  ],
  ['interfaces = "eth0"\n', /^p\.toml:1: interfaces: "eth0" is not an array; write interfaces = \["eth0"\]$/],
  [
    '[[services]]\nname = "a"\nports = "80, 443"\n',
    /^p\.toml:3: services\.0\.ports: "80, 443" is not an array; write ports = \["80", "443"\]$/,
  ],
  [
    '[[services]]\nname = "a"\nports = ["80,443"]\n',
    /^p\.toml:3: services\.0\.ports\.0: "80,443" is more than one value; write each in quotes of its own: "80", "443"$/,
  ],
  [
    '[lists]\nallow = ["10.0.0.0/8, ::1"]\n',
    /^p\.toml:2: lists\.allow\.0: .* quotes of its own: "10\.0\.0\.0\/8", "::1"$/,
  ],
  [
    '[challenge]\nmode = always\n',
    /^p\.toml:2: column 8: always is not a value of TOML; put text in quotes: "always"$/,
  ],
  [
    'management = [10.0.0.1/8]\n',
    /^p\.toml:1: column \d+: 10\.0\.0\.1\/8 is not a value of TOML; put text in quotes: "10/,
  ],
  ['dry-run = yes\n', /^p\.toml:1: column 11: "yes" is not a value of TOML; write true or false$/],
  [
    '[[limits.prefixes]]\nfamily = 5\nbits = 24\nrate = "1/s"\nburst = 5\n',
    /^p\.toml:2: limits\.prefixes\.0\.family: 5 is not allowed; use one of 4, 6$/,
  ],
];

it.each(MISTAKES.map(([text, message]) => [text.slice(0, 80), text, message] as const))(
  'says what is wrong with %j',
  (_shown, text, message) => {
    let found: unknown;
    try {
      readPolicy(text, 'p.toml');
    } catch (error) {
      found = error;
    }
    expect(found).toBeInstanceOf(PolicyError);
    expect((found as Error).message).toMatch(message);
  },
);

it('prints a policy that says the same when it is read again', () => {
  const input: PolicyInput = {
    interfaces: ['eth0'],
    management: ['192.0.2.0/24', '2001:db8::1'],
    lists: { allow: ['10.0.0.1'], 'deny-files': ['/tmp/deny.txt'] },
    state: 'auto',
    limits: { source: false, verified: { rate: '10/s', burst: '1k' }, strays: { rate: '2/s', burst: 9 } },
    services: [
      { name: 'web', ports: [80, '8000-8100'], addresses: ['10.0.0.10'], challenge: 'always' },
      { name: 'forwarded', ports: [8443], form: 'cookie', state: 'off' },
      { name: 'rest', limits: { service: { rate: '1/m', burst: 2 } } },
    ],
    sanity: { hping: false, 'fast-open': true },
    challenge: { form: 'reset', remember: '90s' },
    events: { rate: '5/s' },
    meter: { cells: '100k' },
  };
  const policy = resolvePolicy(input);
  expect(policy.cells).toBe(131_072);
  expect(readPolicy(formatPolicy(policy), 'again').policy).toEqual(policy);
  expect(readPolicy(formatPolicy(resolvePolicy()), 'again').policy).toEqual(resolvePolicy());
});

it.each([
  [['10.0.0.0/8'], [], /lists\.deny: 10\.0\.0\.0\/8 would cut off 10\.1\.2\.3, your session/],
  [['10.1.2.3'], [], /cut off/],
  [['10.1.2.0/24'], ['10.1.2.3'], undefined],
  [['10.0.0.0/8'], ['10.1.0.0/16'], undefined],
  [['192.0.2.0/24'], [], undefined],
])('guards a session against deny %j, allow %j', (deny, allow, message) => {
  const guarded = [{ network: parseCidr('10.1.2.3'), why: 'your session' }];
  const check = (): void => {
    refuseLockOut(guarded, allow.map(parseCidr), deny.map(parseCidr));
  };
  if (message) expect(check).toThrow(message);
  else expect(check).not.toThrow();
});

it.each([() => 5, Symbol('policy'), 5n])('what is no table is a mistake of the policy: %s', (given) => {
  expect(() => resolvePolicy(given as never)).toThrow(PolicyError);
});
