/** What an operator may say, as it stands in a file; every word of it is a key or a value here. */
import * as z from 'zod/mini';
import { parseCidr } from '../net/address.ts';
import { interfaceNameProblem } from '../net/interface-name.ts';
import { sanityNames } from './sanity.ts';
import { parseCount, parseDuration, parsePortRange, parseRate } from './units.ts';

/** Lets a reader of text be used as a check; its message, without the path, becomes the issue. */
function readable(read: (text: string, path: string) => unknown) {
  return z.string().check(
    z.superRefine((text, context) => {
      try {
        read(text, '');
      } catch (error) {
        context.addIssue({ code: 'custom', message: (error as Error).message.replace(/^: /, '') });
      }
    }),
  );
}

const interfaceName = z.string().check(
  z.superRefine((name, context) => {
    const problem = interfaceNameProblem(name);
    if (problem !== undefined) context.addIssue({ code: 'custom', message: problem });
  }),
);
const whole = (lowest: number, highest: number) => z.int().check(z.minimum(lowest), z.maximum(highest));
const rate = readable(parseRate);
const duration = readable(parseDuration);
const cidr = readable((text) => parseCidr(text));
const port = z.union([whole(1, 65_535), readable(parsePortRange)]);
const count = (lowest: number, highest: number) =>
  z.union([whole(lowest, highest), readable((text) => parseCount(text, '', lowest, highest))]);

/** An array of at most so many entries. Zod's own check also reads the `length` of a table. */
const atMost = <T extends z.ZodMiniType>(most: number, entry: T) =>
  z.array(entry).check(
    z.superRefine((entries, context) => {
      if (entries.length > most)
        context.addIssue({ code: 'too_big', origin: 'array', maximum: most, inclusive: true, input: entries });
    }),
  );

/** A token bucket: the rate of its tokens, and its size. */
const bucket = z.strictObject({ rate, burst: count(1, 1_000_000) });
/** A limit that can be turned off. */
const limit = z.union([bucket, z.literal(false)]);

const prefixLimits = atMost(
  4,
  z.strictObject({ family: z.literal([4, 6]), bits: whole(1, 127), rate, burst: count(1, 1_000_000) }),
);

const limits = z.strictObject({
  /** Of each source address. */
  source: z.optional(limit),
  /** Of each network of so many leading bits. */
  prefixes: z.optional(prefixLimits),
  /** Of all sources together: over it every SYN is challenged, or dropped where nothing can be. */
  service: z.optional(limit),
  /** Of each source that has proved its address. */
  verified: z.optional(bucket),
  /** Of segments that are no SYNs and belong to no connection, all sources together. */
  strays: z.optional(bucket),
});

export const challengeModes = ['auto', 'always', 'off'] as const;
export const stateModes = ['auto', 'always', 'off'] as const;
export const challengeForms = ['cookie', 'assign', 'kernel', 'reset'] as const;

const mode = z.enum(challengeModes);
const state = z.enum(stateModes);

const service = z.strictObject({
  name: z.string().check(z.regex(/^[\w.-]{1,32}$/, 'a name has 1 to 32 letters, digits, dots, dashes and underscores')),
  addresses: z.optional(z.array(cidr)),
  ports: z.optional(z.array(port)),
  limits: z.optional(limits),
  challenge: z.optional(mode),
  /** How its SYNs are challenged. */
  form: z.optional(z.enum(challengeForms)),
  state: z.optional(state),
});

export const policySchema = z.strictObject({
  interfaces: z.optional(z.array(interfaceName)),
  'dry-run': z.optional(z.boolean()),
  /** Addresses that must never be cut off. */
  management: z.optional(z.array(cidr)),
  lists: z.optional(
    z.strictObject({
      allow: z.optional(z.array(cidr)),
      deny: z.optional(z.array(cidr)),
      'allow-files': z.optional(z.array(z.string())),
      'deny-files': z.optional(z.array(z.string())),
    }),
  ),
  limits: z.optional(limits),
  challenge: z.optional(
    z.strictObject({
      mode: z.optional(mode),
      form: z.optional(z.enum(challengeForms)),
      /** How long a source that proved its address is remembered. */
      remember: z.optional(duration),
      /** Whether net.ipv4.tcp_syncookies and tcp_timestamps may be set, and set back, for the form `kernel`. */
      'set-sysctls': z.optional(z.boolean()),
    }),
  ),
  /** When segments that are no SYNs are looked up among the connections of this host. */
  state: z.optional(state),
  services: z.optional(atMost(1024, service)),
  sanity: z.optional(
    z.strictObject({
      ...(Object.fromEntries(sanityNames.map((name) => [name, z.optional(z.boolean())])) as Record<
        (typeof sanityNames)[number],
        z.ZodMiniOptional<z.ZodMiniBoolean>
      >),
      'fast-open': z.optional(z.boolean()),
    }),
  ),
  fragments: z.optional(
    z.strictObject({
      /** The first fragment of a TCP segment, which has the header. */
      first: z.optional(z.enum(['judge', 'drop'])),
      later: z.optional(z.enum(['pass', 'drop'])),
    }),
  ),
  events: z.optional(z.strictObject({ rate: z.optional(rate) })),
  meter: z.optional(z.strictObject({ cells: z.optional(count(1024, 1_073_741_824)) })),
});

/** A policy as it is written; missing keys have defaults. */
export type PolicyInput = z.input<typeof policySchema>;
