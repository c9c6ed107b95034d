/** What the host's firewall does with TCP connections that challenges have to know of: read, never changed. */
import { spawnSync } from 'node:child_process';
import type { Policy, Service } from '../policy/policy.ts';
import { formatPorts, type PortRange } from '../policy/units.ts';

/** A rule: connections to these ports are sent elsewhere, are dropped unless they begin with a SYN, or are dropped. No ports are all of them. */
export interface FirewallRule {
  readonly kind: 'rewritten' | 'wants-syn' | 'dropped';
  readonly ports: readonly PortRange[];
  /** Where it is written, for people. */
  readonly where: string;
}

type Json = Readonly<Record<string, unknown>>;
const isTable = (value: unknown): value is Json => typeof value === 'object' && value !== null;
const at = (value: unknown, ...path: readonly string[]): unknown =>
  path.reduce<unknown>((inner, key) => (isTable(inner) ? inner[key] : undefined), value);

/** Ports as `nft -j` writes them: a number, a range, a set of both; undefined for names and references. */
function nftPorts(right: unknown): PortRange[] | undefined {
  if (typeof right === 'number') return [{ first: right, last: right }];
  const range = at(right, 'range');
  if (Array.isArray(range)) return [{ first: Number(range[0]), last: Number(range[1]) }];
  const set = at(right, 'set');
  if (!Array.isArray(set)) return undefined;
  const all = set.map((one: unknown) => nftPorts(one));
  return all.every((one) => one !== undefined) ? all.flat() : undefined;
}

const listed = (value: unknown): unknown[] =>
  Array.isArray(value) ? value : isTable(value) ? listed(value['set']) : [value];

/** A rule of `nft -j list ruleset` in a chain with this hook. Rules of iptables are in there too, but not what they say. */
function nftRule(rule: unknown, hook: string | undefined): FirewallRule | undefined {
  const expressions = listed(at(rule, 'expr'));
  const matches = expressions.map((one) => at(one, 'match')).filter(isTable);
  const port = matches.find(
    ({ left }) => at(left, 'payload', 'protocol') === 'tcp' && at(left, 'payload', 'field') === 'dport',
  );
  const ports = port?.['op'] === '==' ? nftPorts(port['right']) : undefined;
  const has = (...keys: readonly string[]): boolean =>
    expressions.some((one) => isTable(one) && keys.some((key) => key in one));
  const where = `nft, table ${String(at(rule, 'family'))} ${String(at(rule, 'table'))}, chain ${String(at(rule, 'chain'))}`;
  if (ports && has('dnat', 'redirect')) return { kind: 'rewritten', ports, where };
  if (!has('drop', 'reject')) return undefined;
  const fresh = matches.some(({ left, right }) => at(left, 'ct', 'key') === 'state' && listed(right).includes('new'));
  const without = matches.some(
    ({ op, left, right }) => op === '!=' && JSON.stringify(left).includes('"flags"') && listed(right).includes('syn'),
  );
  if (fresh && without) return { kind: 'wants-syn', ports: ports ?? [], where };
  if (ports && hook === 'input' && matches.length === 1) return { kind: 'dropped', ports, where };
  return undefined;
}

function parsed(output: string): unknown {
  try {
    return JSON.parse(output) as unknown;
  } catch {
    return undefined; // no nft, or one that was cut off
  }
}

/** The rules of `nft -j list ruleset`; none where that is no JSON. */
export function nftRules(output: string): FirewallRule[] {
  const entries = listed(at(parsed(output), 'nftables'));
  const hooks = new Map<string, unknown>();
  const name = (of: unknown, key: string): string => JSON.stringify([at(of, 'family'), at(of, 'table'), at(of, key)]);
  for (const entry of entries) {
    const chain = at(entry, 'chain');
    if (chain) hooks.set(name(chain, 'name'), at(chain, 'hook'));
  }
  return entries.flatMap((entry) => {
    const rule = at(entry, 'rule');
    return rule ? (nftRule(rule, hooks.get(name(rule, 'chain')) as string | undefined) ?? []) : [];
  });
}

/** The rules of `iptables-save` or `ip6tables-save`. */
export function iptablesRules(output: string, command: string): FirewallRule[] {
  let table = '';
  return output.split('\n').flatMap((line): FirewallRule[] => {
    if (line.startsWith('*')) table = line.slice(1).trim();
    const [, chain = '', rest = ''] = /^-A (\S+) (.*)$/.exec(line) ?? [];
    if (!/-p tcp\b/.test(rest)) return [];
    const [, not, text] = /(! )?--dports? (\S+)/.exec(rest) ?? [];
    const ports = not === undefined && text !== undefined ? text.split(',').map(iptablesPort) : [];
    const where = `${command}, table ${table}, chain ${chain}`;
    if (ports.length > 0 && /-j (DNAT|REDIRECT)\b/.test(rest)) return [{ kind: 'rewritten', ports, where }];
    if (!/-j (DROP|REJECT)\b/.test(rest)) return [];
    const withoutSyn = /! --syn\b|! --tcp-flags \S*SYN\S* SYN\b/.test(rest) && /state \S*NEW/.test(rest);
    if (withoutSyn) return [{ kind: 'wants-syn', ports, where }];
    const plain = /^-p tcp (-m \S+ )?--dports? \S+ -j (DROP|REJECT)/.test(rest);
    return plain && chain === 'INPUT' && ports.length > 0 ? [{ kind: 'dropped', ports, where }] : [];
  });
}

function iptablesPort(text: string): PortRange {
  const [first, last = first] = text.split(':').map(Number);
  return { first: first!, last: last! };
}

/** The rules of this network namespace, by the tools that are there. */
export function readFirewall(): FirewallRule[] {
  const run = (command: string, ...args: string[]): string => {
    const { status, stdout } = spawnSync(command, args, { encoding: 'utf8', timeout: 1000, maxBuffer: 1 << 26 });
    return status === 0 ? stdout : '';
  };
  const nft = run('nft', '-j', 'list', 'ruleset');
  return [
    ...nftRules(nft),
    ...['iptables-save', 'ip6tables-save'].flatMap((command) => iptablesRules(run(command), command)),
  ];
}

const overlap = (a: PortRange, b: PortRange): boolean => a.first <= b.last && b.first <= a.last;
const EVERY_PORT: PortRange = { first: 1, last: 65_535 };
const orEvery = (ports: readonly PortRange[]): readonly PortRange[] => (ports.length === 0 ? [EVERY_PORT] : ports);

/** These ports without those. */
const without = (ports: readonly PortRange[], those: readonly PortRange[]): readonly PortRange[] =>
  those.reduce(
    (left, { first, last }) =>
      left
        .flatMap((one) => [
          { first: one.first, last: Math.min(one.last, first - 1) },
          { first: Math.max(one.first, last + 1), last: one.last },
        ])
        .filter((one) => one.first <= one.last),
    ports,
  );

/** The services that SYNs to these ports can reach: the first that matches decides, so one for every address hides its ports from those behind it. */
function reached(services: readonly Service[], ports: readonly PortRange[]): Service[] {
  let left = orEvery(ports);
  return services.filter((service) => {
    const own = orEvery(service.ports);
    if (!left.some((one) => own.some((other) => overlap(one, other)))) return false;
    if (service.addresses.length === 0) left = without(left, own);
    return true;
  });
}

/** What an operator should know of the firewall beside a policy, a line each. */
export function firewallNotes({ services }: Pick<Policy, 'services'>, rules: readonly FirewallRule[]): string[] {
  const port = (ports: readonly PortRange[]): string =>
    ports.length === 0 ? 'every port' : `port ${formatPorts(ports)}`;
  const lines = rules.flatMap(({ kind, ports, where }) => {
    const challenged = reached(services, ports).filter(({ challenge }) => challenge !== 'off');
    if (kind === 'dropped')
      return challenged.length > 0
        ? [
            `${port(ports)} is dropped by the firewall (${where}) and answered while challenges are on; leave it out: [[services]] name = "open", ports = [${without(
              [EVERY_PORT],
              ports,
            )
              .map((one) => (one.first === one.last ? String(one.first) : `"${String(one.first)}-${String(one.last)}"`))
              .join(', ')}]`,
          ]
        : [];
    const concerned = challenged.filter(({ form }) => form !== 'reset').map(({ name }) => name);
    if (concerned.length === 0) return [];
    const why =
      kind === 'rewritten'
        ? `is sent elsewhere by the firewall (${where}), which has not seen the SYN of a connection by cookie`
        : `takes new connections only by SYN (${where}), which one by cookie does not begin with there`;
    return [
      `${port(ports)} ${why}; give service ${concerned.join(', ')} form = "reset", or this port a service of its own with it`,
    ];
  });
  return [...new Set(lines)];
}
