/** Both programs of a protection in the kernel: from the cache where they were compiled before, and into it where not. */
import { release, version } from 'node:os';
import {
  formatImage,
  FunctionCache,
  imageOf,
  knownImage,
  type LoadOptions,
  parseImage,
  Program,
  type ProgramImage,
  SyscallError,
  UnsupportedError,
} from '../ebpf/index.ts';
import type { Protection } from '../dataplane/pipeline.ts';
import { buildId } from './build-id.ts';
import { DiskCache } from './cache.ts';
import { shippedFunctions } from './shipped-functions.ts';

export interface Programs {
  readonly program: Program;
  readonly accept: Program | undefined;
}

/** @throws the errors of loading an image that the kernel no longer takes. */
function loadImages([program, accept]: readonly ProgramImage[], options: LoadOptions): Programs {
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

/** Keeps compiled programs for the next load. */
export function keepCompiled(compiled: Compiled): void {
  ahead = compiled;
}

/** Which kernel functions there are, and what the verifier takes, the kernel's build says. */
function cacheKey({ key }: Protection): string | undefined {
  return key === undefined ? undefined : [buildId(), release(), version(), key].join('\n');
}

/** What this process compiled, and what was compiled with the package: most changes of a policy are of numbers. */
const functions = new FunctionCache();

/** The images of a protection's programs, the accepting half last. @throws DslError. */
function imagesOf(made: Protection): ProgramImage[] {
  const first = functions.empty;
  if (first) functions.learn(shippedFunctions());
  const names = made.write.accept ? (['program', 'accept'] as const) : (['program'] as const);
  // If all functions may be known, a program is written without source lines first, for this use alone.
  const known = (name: 'program' | 'accept') => (first ? undefined : knownImage(() => made.write[name]!(), functions));
  return names.map((name) => known(name) ?? imageOf(made[name]!, functions));
}

const textOf = (images: readonly ProgramImage[]): string => JSON.stringify(images.map((image) => formatImage(image)));
const imagesIn = (text: string): ProgramImage[] => (JSON.parse(text) as string[]).map((image) => parseImage(image));

/** A protection's programs, from the cache or compiled and kept there; undefined for a protection without a key. @throws DslError. */
export function compiledPrograms(made: Protection, cache = new DiskCache()): Compiled | undefined {
  const key = cacheKey(made);
  if (key === undefined) return undefined;
  const known = cache.read(key);
  const text = known ?? textOf(imagesOf(made));
  if (known === undefined) cache.write(key, text);
  return { key, text };
}

/** Errors that do not depend on the program: missing memory, descriptors or permission. */
const LACKING = new Set(['EPERM', 'ENOMEM', 'EMFILE', 'ENFILE', 'EAGAIN']);

/** @throws an error that another image of the same program would meet as well. */
function refuseLacking(error: unknown): void {
  if (error instanceof UnsupportedError || (error instanceof SyscallError && LACKING.has(error.errno))) throw error;
}

/** Loads images; where one is refused, the program is compiled alone, so that the verifier's reasons come with source lines. */
function loadCompiled(made: Protection, images: readonly ProgramImage[], options: LoadOptions): Programs {
  try {
    return loadImages(images, options);
  } catch (error) {
    refuseLacking(error);
    return compileAndLoad(made, options);
  }
}

/** Loads a protection's programs; the caller disposes of them. @throws VerifierError, SyscallError, UnsupportedError. */
export function loadPrograms(made: Protection, options: LoadOptions, cache = new DiskCache()): Programs {
  const key = cacheKey(made);
  if (key === undefined) return compileAndLoad(made, options);
  const known = ahead?.key === key ? ahead.text : cache.read(key);
  ahead = undefined;
  if (known !== undefined) {
    try {
      return loadImages(imagesIn(known), options);
    } catch (error) {
      refuseLacking(error); // all else is made anew
    }
  }
  const images = imagesOf(made);
  const programs = loadCompiled(made, images, options);
  cache.write(key, textOf(images));
  return programs;
}
