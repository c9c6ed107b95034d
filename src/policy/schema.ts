/** What an operator may say, as it stands in a file; every word of it is a key or a value here. */
import { z } from 'zod';
import { parseCidr } from '../net/address.ts';
import { interfaceNameProblem } from '../net/interface-name.ts';
import { sanityNames } from './sanity.ts';
import { parseCount, parseDuration, parsePortRange, parseRate } from './units.ts';

/** Lets a reader of text be used as a check; its message, without the path, becomes the issue. */
function readable(read: (text: string, path: string) => unknown) {
  return z.string().superRefine((text, context) => {
    try {
      read(text, '');
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message.replace(/^: /, '') });
    }
  });
}

const interfaceName = z.string().superRefine((name, context) => {
  const problem = interfaceNameProblem(name);
  if (problem !== undefined) context.addIssue({ code: 'custom', message: problem });
});
const rate = readable(parseRate);
const duration = readable(parseDuration);
const cidr = readable((text) => parseCidr(text));
const port = z.union([z.int().min(1).max(65_535), readable(parsePortRange)]);
const count = (lowest: number, highest: number) =>
  z.union([z.int().min(lowest).max(highest), readable((text) => parseCount(text, '', lowest, highest))]);

/** An array of at most so many entries. Zod's own check also looks at the `length` of what is no array, which may be a table. */
const atMost = <T extends z.ZodType>(most: number, entry: T) =>
  z.array(entry).superRefine((entries, context) => {
    if (entries.length > most)
      context.addIssue({ code: 'too_big', origin: 'array', maximum: most, inclusive: true, input: entries });
  });

/** A token bucket: what comes back, and how much there is at once. */
const bucket = z.strictObject({ rate, burst: count(1, 1_000_000) });
/** A limit that can be turned off. */
const limit = z.union([bucket, z.literal(false)]);

const prefixLimits = atMost(
  4,
  z.strictObject({ family: z.literal([4, 6]), bits: z.int().min(1).max(127), rate, burst: count(1, 1_000_000) }),
);

const limits = z.strictObject({
  /** Of each source address. */
  source: limit.optional(),
  /** Of each network of so many leading bits. */
  prefixes: prefixLimits.optional(),
  /** Of all sources together: over it every SYN is challenged, or dropped where nothing can be. */
  service: limit.optional(),
  /** Of each source that has proved its address. */
  verified: bucket.optional(),
});

export const challengeModes = ['auto', 'always', 'off'] as const;
export const challengeForms = ['cookie', 'assign', 'kernel', 'reset'] as const;

const mode = z.enum(challengeModes);

const service = z.strictObject({
  name: z.string().regex(/^[\w.-]{1,32}$/, 'a name has 1 to 32 letters, digits, dots, dashes and underscores'),
  addresses: z.array(cidr).optional(),
  ports: z.array(port).optional(),
  limits: limits.optional(),
  challenge: mode.optional(),
  /** How its SYNs are challenged. */
  form: z.enum(challengeForms).optional(),
});

export const policySchema = z.strictObject({
  interfaces: z.array(interfaceName).optional(),
  'dry-run': z.boolean().optional(),
  /** Addresses that must never be cut off. */
  management: z.array(cidr).optional(),
  lists: z
    .strictObject({
      allow: z.array(cidr).optional(),
      deny: z.array(cidr).optional(),
      'allow-files': z.array(z.string()).optional(),
      'deny-files': z.array(z.string()).optional(),
    })
    .optional(),
  limits: limits.optional(),
  challenge: z
    .strictObject({
      mode: mode.optional(),
      form: z.enum(challengeForms).optional(),
      /** How long a source that proved its address is remembered. */
      remember: duration.optional(),
      /** Whether net.ipv4.tcp_syncookies and tcp_timestamps may be set, and set back, for the form `kernel`. */
      'set-sysctls': z.boolean().optional(),
    })
    .optional(),
  services: atMost(1024, service).optional(),
  sanity: z
    .strictObject({
      ...(Object.fromEntries(sanityNames.map((name) => [name, z.boolean().optional()])) as Record<
        (typeof sanityNames)[number],
        z.ZodOptional<z.ZodBoolean>
      >),
      'fast-open': z.boolean().optional(),
    })
    .optional(),
  fragments: z
    .strictObject({
      /** The first fragment of a TCP segment, which has the header. */
      first: z.enum(['judge', 'drop']).optional(),
      later: z.enum(['pass', 'drop']).optional(),
    })
    .optional(),
  events: z.strictObject({ rate: rate.optional() }).optional(),
  meter: z.strictObject({ cells: count(1024, 1_073_741_824).optional() }).optional(),
});

/** A policy as it is written; what is left out has a default. */
export type PolicyInput = z.input<typeof policySchema>;
