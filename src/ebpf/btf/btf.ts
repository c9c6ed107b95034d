/**
 * BTF, the kernel's type format (Documentation/bpf/btf.rst): enough of it to describe map keys and values, functions and
 * source lines. Type 0 is void; types count from 1.
 */
import type { Struct, Type } from './type.ts';

const MAGIC = 0xeb9f;
const HEADER_SIZE = 24;

const Kind = { INT: 1, PTR: 2, ARRAY: 3, STRUCT: 4, TYPEDEF: 8, FUNC: 12, FUNC_PROTO: 13 } as const;
/** Linkage of a function: the kernel checks a static one anew at each call, with what it knows there. */
export const Linkage = { STATIC: 0, GLOBAL: 1 } as const;

/**
 * What a function takes: a number, the program's context (`any` where the kernel asks for no name, also for other pointers), or memory of the size of a struct. Of a
 * global function the kernel believes this and nothing else (`btf_prepare_func_args`, kernel/bpf/btf.c): the context by the name of its struct.
 */
export type ParameterType = 'number' | { readonly context: 'xdp_md' | '__sk_buff' | 'any' } | Struct;

export interface Signature {
  readonly parameters: readonly ParameterType[];
  /** Bytes of the number that it gives back; of a result of 32 bits the upper half is not looked at. */
  readonly result: 4 | 8;
  readonly linkage: number;
}

const INTEGER_NAMES: Record<number, string> = {
  1: 'unsigned char',
  2: 'unsigned short',
  4: 'unsigned int',
  8: 'unsigned long long',
};

function words(...values: number[]): Buffer {
  const out = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => out.writeUInt32LE(value >>> 0, index * 4));
  return out;
}

/** Collects types and strings; each distinct one is stored once. */
export class BtfBuilder {
  readonly #types: Buffer[] = [];
  readonly #known = new Map<string, number>();
  readonly #strings = new Map<string, number>([['', 0]]);
  readonly #stringParts: Buffer[] = [Buffer.from([0])];
  #stringLength = 1;

  /** The offset of a string in the string section. */
  string(text: string): number {
    const known = this.#strings.get(text);
    if (known !== undefined) return known;
    const raw = Buffer.from(`${text}\0`);
    const offset = this.#stringLength;
    this.#strings.set(text, offset);
    this.#stringParts.push(raw);
    this.#stringLength += raw.length;
    return offset;
  }

  /** The number of a type, added when it is new. */
  type(type: Type): number {
    switch (type.kind) {
      case 'scalar': {
        const integer = this.#integer(type.size);
        return type.name.startsWith('be') ? this.#add(Kind.TYPEDEF, `__${type.name}`, 0, integer) : integer;
      }
      case 'bytes':
        return this.#array(this.#integer(1), type.size);
      case 'array':
        return this.#array(this.type(type.element), type.length);
      case 'opaque': {
        // The kernel knows it by its name and size (btf_get_field_type, kernel/bpf/btf.c).
        const member = words(this.string('val'), this.#array(this.#integer(4), type.size / 4), 0);
        return this.#add(Kind.STRUCT, type.name, 1, type.size, member);
      }
      case 'struct': {
        const fields = Object.entries(type.fields);
        const members = fields.map(([name, field]) =>
          words(this.string(name), this.type(field), type.offsets[name]! * 8),
        );
        return this.#add(Kind.STRUCT, type.name, fields.length, type.size, Buffer.concat(members));
      }
    }
  }

  /** A function that gives a number back. */
  func(name: string, { parameters, result, linkage }: Signature): number {
    const nameOf = (type: ParameterType, index: number): string =>
      type !== 'number' && 'context' in type ? 'ctx' : `p${String(index)}`;
    const params = Buffer.concat(
      parameters.map((type, index) => words(this.string(nameOf(type, index)), this.#parameter(type))),
    );
    const prototype = this.#add(Kind.FUNC_PROTO, '', parameters.length, this.#integer(result), params);
    return this.#add(Kind.FUNC, name, linkage, prototype);
  }

  #parameter(type: ParameterType): number {
    if (type === 'number') return this.#integer(8);
    if ('kind' in type) return this.#add(Kind.PTR, '', 0, this.type(type));
    return this.#add(Kind.PTR, '', 0, type.context === 'any' ? 0 : this.#add(Kind.STRUCT, type.context, 0, 0));
  }

  /** The whole section, as BPF_BTF_LOAD takes it. */
  encode(): Buffer {
    const types = Buffer.concat(this.#types);
    const strings = Buffer.concat(this.#stringParts);
    const header = Buffer.alloc(HEADER_SIZE);
    header.writeUInt16LE(MAGIC, 0);
    header.writeUInt8(1, 2); // version
    header.writeUInt32LE(HEADER_SIZE, 4);
    header.writeUInt32LE(0, 8);
    header.writeUInt32LE(types.length, 12);
    header.writeUInt32LE(types.length, 16);
    header.writeUInt32LE(strings.length, 20);
    return Buffer.concat([header, types, strings]);
  }

  #integer(size: number): number {
    return this.#add(Kind.INT, INTEGER_NAMES[size]!, 0, size, words(size * 8));
  }

  #array(element: number, length: number): number {
    return this.#add(Kind.ARRAY, '', 0, 0, words(element, this.#integer(4), length));
  }

  #add(kind: number, name: string, vlen: number, sizeOrType: number, rest: Buffer = Buffer.alloc(0)): number {
    const entry = Buffer.concat([words(this.string(name), (kind << 24) | vlen, sizeOrType), rest]);
    const key = entry.toString('latin1');
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const id = this.#types.push(entry);
    this.#known.set(key, id);
    return id;
  }
}
