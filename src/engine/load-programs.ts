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

/** Loads a protection's programs; the caller disposes of them. @throws VerifierError, SyscallError, UnsupportedError. */
export function loadPrograms(made: Protection, options: LoadOptions, cache = new DiskCache()): Programs {
  if (made.key === undefined) return compileAndLoad(made, options);
  // Which kernel functions there are, and what the verifier takes, the kernel's build says.
  const key = [buildId(), release(), version(), made.key].join('\n');
  const known = cache.read(key);
  if (known !== undefined) {
    try {
      return loadImages(known, options);
    } catch {
      // Made anew: where that is refused too, the verifier's reasons come with source lines.
    }
  }
  const programs = compileAndLoad(made, options);
  const images: ProgramImage[] = [made.program, ...(made.accept ? [made.accept] : [])].map((spec) => imageOf(spec));
  cache.write(key, JSON.stringify(images.map((image) => formatImage(image))));
  return programs;
}
