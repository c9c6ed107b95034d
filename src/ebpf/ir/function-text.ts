/** Compiled functions as text, to be shipped. Source files are named from a folder, `root`, which may be another one where they are read. */
import { relative, resolve } from 'node:path';
import type { Instruction } from '../asm/instruction.ts';
import { CallSite, type SourceLocation } from '../source-location.ts';
import type { FunctionCode, KnownFunction, KnownFunctions } from './function-cache.ts';

/** The number of a place in the list of places. */
type Place = number | null;
/** An instruction: what every one has, its place, and the rest, without notes. */
type Row = [opcode: number, dst: number, src: number, offset: number, imm: number, place: Place, rest?: Rest];
type Rest = Omit<Instruction, 'opcode' | 'dst' | 'src' | 'offset' | 'imm' | 'site' | 'note' | 'wide'> & {
  wide?: string;
};

interface Written {
  readonly files: readonly string[];
  readonly places: readonly (readonly [file: number, line: number, column: number])[];
  readonly functions: readonly (readonly [text: string, entries: readonly WrittenFunction[]])[];
}

interface WrittenFunction {
  readonly rows: readonly Row[];
  readonly place: Place;
  readonly frame: Omit<FunctionCode['frame'], 'callees' | 'largest'> & {
    readonly callees: readonly string[];
    readonly largest: readonly (readonly [number: number, size: number, place: Place])[];
  };
  readonly fixed: readonly (readonly [number: number, value: string])[];
}

/** Numbers things in the order in which they are met. */
class Numbers {
  readonly #numbers = new Map<string, number>();

  of(text: string): number {
    const number = this.#numbers.get(text) ?? this.#numbers.size;
    this.#numbers.set(text, number);
    return number;
  }

  get texts(): string[] {
    return [...this.#numbers.keys()];
  }
}

export function formatFunctions(known: KnownFunctions, root: string): string {
  const [files, places] = [new Numbers(), new Numbers()];
  const place = (site: CallSite | undefined): Place => {
    const at = site?.location;
    return at ? places.of(JSON.stringify([files.of(relative(root, at.file)), at.line, at.column])) : null;
  };
  const row = ({ opcode, dst, src, offset, imm, site, note: _note, wide, ...others }: Instruction): Row => {
    const rest: Rest = wide === undefined ? others : { ...others, wide: String(wide) };
    const empty = Object.keys(rest).length === 0;
    return [opcode, dst, src, offset, imm, place(site), ...(empty ? ([] as const) : ([rest] as const))];
  };
  const written = ({ code: { insns, frame, site }, fixed }: KnownFunction): WrittenFunction => ({
    rows: insns.map(row),
    place: place(site),
    frame: {
      ...frame,
      callees: [...frame.callees],
      largest: frame.largest.map((slot) => [slot.number, slot.size, place(slot.site)]),
    },
    fixed: fixed.map(([number, value]) => [number, String(value)]),
  });
  const functions = known.map(([text, entries]) => [text, entries.map(written)] as const);
  const all = places.texts.map((text) => JSON.parse(text) as [number, number, number]);
  return JSON.stringify({ files: files.texts, places: all, functions } satisfies Written);
}

/** Reads what `formatFunctions` wrote. */
export function parseFunctions(text: string, root: string): KnownFunctions {
  const { files, places, functions } = JSON.parse(text) as Written;
  const paths = files.map((file) => resolve(root, file));
  const sites = places.map(([file, line, column]) => {
    const location: SourceLocation = { file: paths[file]!, line, column };
    return new CallSite(location);
  });
  const site = (place: Place): CallSite | undefined => (place === null ? undefined : sites[place]);
  const instruction = ([opcode, dst, src, offset, imm, place, rest]: Row): Instruction => {
    const insn = { opcode, dst, src, offset, imm, site: site(place) };
    if (!rest) return insn;
    const { wide, ...others } = rest;
    return wide === undefined ? { ...insn, ...others } : { ...insn, ...others, wide: BigInt(wide) };
  };
  const read = ({ rows, place, frame, fixed }: WrittenFunction): KnownFunction => ({
    code: {
      insns: rows.map(instruction),
      frame: {
        ...frame,
        callees: new Set(frame.callees),
        largest: frame.largest.map(([number, size, at]) => ({ number, size, site: site(at) })),
      },
      site: site(place)!,
    },
    fixed: fixed.map(([number, value]) => [number, BigInt(value)]),
  });
  return functions.map(([name, entries]) => [name, entries.map(read)]);
}
