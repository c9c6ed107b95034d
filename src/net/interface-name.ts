/** Names of network interfaces, by the kernel's own rules (`dev_valid_name`, net/core/dev.c). */

/** IFNAMSIZ of linux/if.h, less the closing NUL. */
const LONGEST = 15;
/** What `isspace` takes for white space in a byte (lib/ctype.c), the no-break space of Latin-1 included. */
const SPACE = new Set([0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x20, 0xa0]);

/** Why the kernel would never give an interface this name; undefined where it could. */
export function interfaceNameProblem(name: unknown): string | undefined {
  if (typeof name !== 'string') return `the name of an interface is a text, not of type ${typeof name}`;
  const bytes = Buffer.from(name);
  const shown = JSON.stringify(name.length > 40 ? `${name.slice(0, 40)}...` : name);
  if (bytes.length === 0) return 'the name of an interface cannot be empty; ip link lists the names';
  if (bytes.length > LONGEST)
    return `${shown} is not the name of an interface: names have 1 to ${String(LONGEST)} bytes`;
  if (name === '.' || name === '..') return `${shown} is not the name of an interface`;
  if (name.includes('/') || name.includes(':') || bytes.some((byte) => SPACE.has(byte) || byte === 0))
    return `${shown} is not the name of an interface: names have no slash, no colon and no white space`;
  return undefined;
}
