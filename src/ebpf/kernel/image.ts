/** A compiled program as plain data that can be stored: instructions, the relocations that loading fills in, and BTF. */
import { encode, slotOffsets } from '../asm/encode.ts';
import { type ProgramInfo, programInfo } from '../btf/program-info.ts';
import type { MapSpec } from '../dsl/map.ts';
import { compile, compileWith, type ProgramSpec } from '../dsl/program.ts';
import type { FunctionCache } from '../ir/function-cache.ts';
import { withoutSites } from '../source-location.ts';

/** A place whose number is only known when the program is loaded: a map's descriptor, or the number of a kernel function. */
interface Relocation {
  readonly slot: number;
  readonly kind: 'map' | 'kernelFunction';
  readonly name: string;
}

export interface ProgramImage {
  readonly name: string;
  readonly type: number;
  readonly license: string;
  readonly flags: number;
  /** With zeros where relocations go. */
  readonly insns: Buffer;
  readonly relocations: readonly Relocation[];
  readonly info: ProgramInfo;
  readonly maps: readonly MapSpec[];
}

/** Compiles a program to its image, of functions that were compiled before where a cache has them. @throws DslError. */
export function imageOf(spec: ProgramSpec, functions?: FunctionCache): ProgramImage {
  const code = functions ? compileWith(functions, spec) : compile(spec);
  const starts = new Map(code.functions.map((fn) => [fn.name, fn.slot]));
  const offsets = slotOffsets(code.insns);
  const relocations = code.insns.flatMap(({ map, kernelFunction }, index): Relocation[] => {
    const slot = offsets[index]!;
    if (map !== undefined) return [{ slot, kind: 'map', name: map }];
    return kernelFunction === undefined ? [] : [{ slot, kind: 'kernelFunction', name: kernelFunction }];
  });
  const insns = encode(code.insns, {
    mapDescriptor: () => 0,
    functionSlot: (name) => starts.get(name)!,
    kernelFunction: () => 0,
  });
  const { name, type, license, flags, maps } = spec;
  return { name, type, license, flags, insns, relocations, info: programInfo(code), maps };
}

/**
 * The image of a program if the cache has all of its functions; undefined if it lacks one, or if writing the program fails: written again with source
 * lines, it throws the reason.
 */
export function knownImage(write: () => ProgramSpec, functions: FunctionCache): ProgramImage | undefined {
  if (functions.empty) return undefined;
  try {
    return withoutSites(() => imageOf(write(), functions));
  } catch {
    return undefined;
  }
}

/** The instructions with all numbers filled in. */
export function linked(
  { insns, relocations }: ProgramImage,
  numberOf: Readonly<Record<Relocation['kind'], (name: string) => number>>,
): Buffer {
  const filled = Buffer.from(insns);
  for (const { slot, kind, name } of relocations) filled.writeInt32LE(numberOf[kind](name), slot * 8 + 4);
  return filled;
}

/** An image as text; `parseImage` reads it. */
export function formatImage(image: ProgramImage): string {
  const { insns, info, ...rest } = image;
  const binary = { insns, btf: info.btf, functions: info.functions, lines: info.lines };
  return JSON.stringify({
    ...rest,
    binary: Object.fromEntries(Object.entries(binary).map(([key, bytes]) => [key, bytes.toString('base64')])),
  });
}

/** Reads the text that `formatImage` wrote. The text must be trusted: only its JSON syntax is checked. */
export function parseImage(text: string): ProgramImage {
  const { binary, ...rest } = JSON.parse(text) as Omit<ProgramImage, 'insns' | 'info'> & {
    readonly binary: Record<'insns' | 'btf' | 'functions' | 'lines', string>;
  };
  const bytes = (key: keyof typeof binary): Buffer => Buffer.from(binary[key], 'base64');
  const info = { btf: bytes('btf'), functions: bytes('functions'), lines: bytes('lines') };
  return { ...rest, insns: bytes('insns'), info };
}
