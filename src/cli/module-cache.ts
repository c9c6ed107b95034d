import module from 'node:module';
import { cacheDirectory, privateDirectory } from '../engine/cache.ts';

/** Keeps what V8 compiles of the modules that are imported from here on, where this Node.js can (22.1 and newer). */
export function cacheModules(): void {
  const { enableCompileCache: enable } = module as { enableCompileCache?: (directory: string) => unknown };
  const directory = enable && privateDirectory(`${cacheDirectory()}/modules`);
  if (directory !== undefined) enable?.(directory);
}
