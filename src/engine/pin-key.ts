/** How pins of an interface are named: by the interface and its network namespace. */
import { readdirSync, statSync } from 'node:fs';
import { pinRoot } from './pin-root.ts';

/** The number of a process's network namespace; undefined where we may not look. */
function namespaceOf(process: string): number | undefined {
  try {
    return statSync(`/proc/${process}/ns/net`).ino;
  } catch {
    return undefined;
  }
}

/** The number of this thread's network namespace: it may have entered another one than its process. */
export const networkNamespace = (): number | undefined => namespaceOf('thread-self');

/** The suffix of keys in this network namespace: none in that of process 1. */
function namespaceSuffix(): string {
  const own = networkNamespace();
  return own === namespaceOf('1') ? '' : `@${String(own)}`;
}

const ESCAPES = { '%': '%25', '@': '%40', '.': '%2e' } as const;

/** A file name that says which interface of which network namespace: those of process 1's carry no number. */
export const interfaceKey = (interfaceName: string): string =>
  interfaceName.replaceAll(/[%@.]/g, (character) => ESCAPES[character as keyof typeof ESCAPES]) + namespaceSuffix();

const nameOf = (escaped: string): string =>
  escaped.replaceAll(/%(?:25|40|2e)/g, (code) => String.fromCharCode(Number.parseInt(code.slice(1), 16)));

/** The interfaces of this network namespace that have pins in a directory, by name. */
export function interfacesIn(root: string): string[] {
  const suffix = namespaceSuffix();
  let keys: string[];
  try {
    keys = readdirSync(root);
  } catch {
    return []; // nothing was ever pinned
  }
  return keys
    .filter((key) => /@.*|$/.exec(key)![0] === suffix)
    .map((key) => nameOf(key.slice(0, key.length - suffix.length)))
    .toSorted();
}

/** The interfaces of this network namespace for which something is pinned. */
export const pinnedInterfaces = (): string[] => interfacesIn(pinRoot().path);
