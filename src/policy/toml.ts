import { parse, stringify, TomlError } from 'smol-toml';
import { formatCidr } from '../net/address.ts';
import { printable, quote, shorten } from '../net/quote.ts';
import { type Policy, resolvePolicy } from './policy.ts';
import { lineOf } from './toml-lines.ts';
import { sanityNames } from './sanity.ts';
import type { PolicyInput } from './schema.ts';
import { formatDuration } from './units.ts';
import { PolicyError } from './policy-error.ts';

/** Reads a policy file's text. @throws PolicyError with file and line: `seawall.toml:7: limits.source.rate: ...`. */
export function readPolicy(text: string, file: string): { readonly input: PolicyInput; readonly policy: Policy } {
  let input: PolicyInput;
  try {
    input = parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const reason = error.message.split('\n')[0]!.replace(/^Invalid TOML document: /, '');
    const place = `column ${String(error.column)}: `;
    throw new PolicyError(`${file}:${String(error.line)}`, place + (unquoted(error, text, reason) ?? reason), {
      cause: error,
    });
  }
  try {
    return { input, policy: resolvePolicy(input) };
  } catch (error) {
    throw located(error, text, file);
  }
}

/** The parser's messages for a bare word. */
const NO_VALUE = new Set(['invalid value', 'illegal character in numeric literal']);

/** The advice for text without quotes; undefined for other mistakes. */
function unquoted({ line, column }: TomlError, text: string, reason: string): string | undefined {
  if (!NO_VALUE.has(reason)) return undefined;
  const written = text.split('\n')[line - 1] ?? '';
  const start = /[^\s,=[\]{}#"']*$/.exec(written.slice(0, column - 1))![0];
  const word = start + /^[^\s,=[\]{}#"']*/.exec(written.slice(column - 1))![0];
  if (word === '') return undefined;
  if (/^(yes|no|on|off|true|false)$/i.test(word)) return `${quote(word)} is not a value of TOML; write true or false`;
  return `${printable(shorten(word))} is not a value of TOML; put text in quotes: ${quote(word)}`;
}

/** A mistake in a policy with file and line; other errors as they are. */
export function located(error: unknown, text: string, file: string): unknown {
  if (!(error instanceof PolicyError)) return error;
  return new PolicyError(`${file}:${String(lineOf(text, error.path))}`, error.message, { cause: error });
}

/** The policy in effect as the text of a file, which says the same when it is read again. */
export function formatPolicy(policy: Policy): string {
  const bucket = (given: { rate: string; burst: number } | undefined): object | false =>
    given ? { rate: given.rate, burst: given.burst } : false;
  return stringify({
    ...(policy.interfaces.length > 0 ? { interfaces: [...policy.interfaces] } : {}),
    'dry-run': policy.dryRun,
    management: policy.management.map(formatCidr),
    lists: {
      allow: [...policy.lists.allow],
      deny: [...policy.lists.deny],
      'allow-files': [...policy.lists.allowFiles],
      'deny-files': [...policy.lists.denyFiles],
    },
    challenge: { remember: formatDuration(policy.remember), 'set-sysctls': policy.setSysctls },
    services: policy.services.map(({ name, addresses, ports, limits, challenge, form, state }) => ({
      name,
      addresses: addresses.map(formatCidr),
      ports: ports.map(({ first, last }) => (first === last ? first : `${String(first)}-${String(last)}`)),
      challenge,
      form,
      state,
      limits: {
        source: bucket(limits.source),
        service: bucket(limits.service),
        verified: bucket(limits.verified),
        strays: bucket(limits.strays),
        prefixes: limits.prefixes.map(({ family, bits, rate, burst }) => ({ family, bits, rate, burst })),
      },
    })),
    sanity: Object.fromEntries(sanityNames.map((name) => [name, policy.sanity.has(name)])),
    fragments: { ...policy.fragments },
    events: { rate: policy.events.rate },
    meter: { cells: policy.cells },
  });
}
