/** Both programs of a protection in the kernel: from the cache where they were compiled before, and into it where not. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { release, version } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { formatImage, imageOf, type LoadOptions, parseImage, Program, type ProgramImage } from '../ebpf/index.ts';
import type { Protection } from '../dataplane/pipeline.ts';
import { DiskCache } from './cache.ts';

export interface Programs {
  readonly program: Program;
  readonly accept: Program | undefined;
}

/** What of this package decides on the instructions that come out. */
const SOURCES = ['ebpf', 'net', 'policy', 'dataplane'];

let build: string | undefined;

/** A hash over the text of everything that generates programs: another build's programs are not ours. */
function buildId(): string {
  if (build !== undefined) return build;
  const root = fileURLToPath(new URL('..', import.meta.url));
  const hash = createHash('sha256');
  for (const part of SOURCES) {
    const names = readdirSync(join(root, part), { recursive: true, encoding: 'utf8' });
    for (const name of names.filter((file) => /\.[jt]s$/.test(file) && !/\.(d|test)\.[jt]s$/.test(file)).toSorted()) {
      hash.update(`${part}/${name}\n`).update(readFileSync(join(root, part, name)));
    }
  }
  return (build = hash.digest('hex'));
}

/** @throws what an image that is no longer taken gives. */
function loadImages(text: string, options: LoadOptions): Programs {
  const [program, accept] = (JSON.parse(text) as string[]).map((image) => parseImage(image));
  const main = Program.loadImage(program!, options);
  try {
    return { program: main, accept: accept && Program.loadImage(accept, options) };
  } catch (error) {
    main[Symbol.dispose]();
    throw error;
  }
}

function compileAndLoad({ program: spec, accept }: Protection, options: LoadOptions): Programs {
  const program = Program.load(spec, options);
  try {
    return { program, accept: accept && Program.load(accept, options) };
  } catch (error) {
    program[Symbol.dispose]();
    throw error;
  }
}

/** A protection's programs as text, and the key that stands for all that they follow from. */
export interface Compiled {
  readonly key: string;
  readonly text: string;
}

/** What another thread compiled for the next load. */
let ahead: Compiled | undefined;

/** Keeps what was compiled for the next load. */
export function keepCompiled(compiled: Compiled): void {
  ahead = compiled;
}

/** Which kernel functions there are, and what the verifier takes, the kernel's build says. */
function cacheKey({ key }: Protection): string | undefined {
  return key === undefined ? undefined : [buildId(), release(), version(), key].join('\n');
}

function compileImages(made: Protection): string {
  const images: ProgramImage[] = [made.program, ...(made.accept ? [made.accept] : [])].map((spec) => imageOf(spec));
  return JSON.stringify(images.map((image) => formatImage(image)));
}

/** A protection's programs, from the cache or compiled and kept there; undefined where nothing stands for what they follow from. @throws DslError. */
export function compiledPrograms(made: Protection, cache = new DiskCache()): Compiled | undefined {
  const key = cacheKey(made);
  if (key === undefined) return undefined;
  const known = cache.read(key);
  const text = known ?? compileImages(made);
  if (known === undefined) cache.write(key, text);
  return { key, text };
}

/** Loads a protection's programs; the caller disposes of them. @throws VerifierError, SyscallError, UnsupportedError. */
export function loadPrograms(made: Protection, options: LoadOptions, cache = new DiskCache()): Programs {
  const key = cacheKey(made);
  if (key === undefined) return compileAndLoad(made, options);
  const known = ahead?.key === key ? ahead.text : cache.read(key);
  ahead = undefined;
  if (known !== undefined) {
    try {
      return loadImages(known, options);
    } catch {
      // Made anew: where that is refused too, the verifier's reasons come with source lines.
    }
  }
  const programs = compileAndLoad(made, options);
  cache.write(key, compileImages(made));
  return programs;
}
