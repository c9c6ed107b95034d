/**
 * Random programs over the DSL: a small syntax tree, a walker that writes it with the DSL, and one that evaluates it in plain
 * TypeScript with bigint. The two share the tree and nothing else.
 */
import {
  array,
  arrayMap,
  type Condition,
  func,
  hashMap,
  type Int,
  type IntVariable,
  struct,
  u16,
  u32,
  u64,
  u8,
  type Width,
  xdp,
  XDP,
  type XdpBuilder,
  type XdpPacket,
} from '../../src/ebpf/index.ts';
import type { ProgramSpec } from '../../src/ebpf/index.ts';

const WIDTHS = [8, 16, 32, 64] as const;
const ARITHMETIC = ['add', 'sub', 'mul', 'div', 'mod', 'and', 'or', 'xor', 'shl', 'shr'] as const;
const COMPARISONS = ['eq', 'ne', 'lt', 'le', 'gt', 'ge', 'hasAny'] as const;
const SIGNED = ['slt', 'sle', 'sgt', 'sge'] as const;
const ATOMICS = [
  'atomicAdd',
  'atomicAnd',
  'atomicOr',
  'atomicXor',
  'fetchAdd',
  'fetchAnd',
  'fetchOr',
  'fetchXor',
  'exchange',
  'compareExchange',
] as const;

type Expr =
  | { k: 'literal'; w: Width; value: bigint }
  | { k: 'variable'; w: Width; index: number }
  | { k: 'arithmetic'; w: Width; op: (typeof ARITHMETIC)[number]; a: Expr; b: Expr }
  | { k: 'shift'; w: Width; op: 'shl' | 'shr' | 'sar'; a: Expr; by: number }
  | { k: 'not'; w: Width; a: Expr }
  | { k: 'resize'; w: Width; a: Expr }
  | { k: 'select' | 'when' | 'early'; w: Width; test: Test; a: Expr; b: Expr }
  | { k: 'forget'; w: Width; a: Expr }
  | { k: 'network'; w: 16 | 32 | 64; a: Expr; raw: boolean }
  | { k: 'mix'; w: 64; a: Expr; b: Expr };
type Test =
  | { k: 'compare'; op: (typeof COMPARISONS)[number] | (typeof SIGNED)[number]; a: Expr; b: Expr }
  | { k: 'and' | 'or'; a: Test; b: Test }
  | { k: 'not'; a: Test }
  | { k: 'oneOf'; a: Expr; values: bigint[] };
type Statement =
  | { k: 'let'; value: Expr }
  | { k: 'set'; index: number; value: Expr }
  | { k: 'if'; test: Test; then: Statement[]; otherwise: Statement[] }
  | { k: 'loop'; times: number; body: Statement[]; breakIf: Test | undefined; continueIf: Test | undefined }
  | { k: 'exit'; code: number }
  | { k: 'inline'; index: number; test: Test; early: Expr; body: Statement[]; end: Expr }
  | { k: 'read'; w: Width; index: number }
  | { k: 'write'; index: number; value: Expr }
  | { k: 'skip'; by: Expr }
  | { k: 'atomic'; op: (typeof ATOMICS)[number]; size: 32 | 64; value: Expr; expected: Expr; index: number }
  | { k: 'element'; at: Expr; value: Expr; index: number }
  | { k: 'store'; key: Expr; value: Expr }
  | { k: 'recall'; key: Expr; index: number }
  | { k: 'clobber' };
export interface RandomProgram {
  readonly statements: Statement[];
}

/** mulberry32: small, seeded, good enough to choose with. */
class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed | 0;
  }
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  }
  below(limit: number): number {
    return this.next() % limit;
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
  bits(width: number): bigint {
    const edges = [0n, 1n, (1n << BigInt(width)) - 1n, 1n << BigInt(width - 1), (1n << BigInt(width - 1)) - 1n];
    if (this.below(3) === 0) return this.pick(edges);
    const raw = (BigInt(this.next()) << 32n) | BigInt(this.next());
    return BigInt.asUintN(this.below(2) === 0 ? width : Math.min(width, 6), raw);
  }
}

/** Makes a program of about `size` statements. */
export function randomProgram(seed: number, size: number): RandomProgram {
  const random = new Random(seed);
  let budget = size;

  const expr = (w: Width, depth: number): Expr => {
    const kind = depth <= 0 ? random.below(2) : random.below(14);
    switch (kind) {
      case 0:
        return { k: 'literal', w, value: random.bits(w) };
      case 1:
      case 2:
        return { k: 'variable', w, index: random.below(64) };
      case 3:
      case 4:
      case 5:
        return { k: 'arithmetic', w, op: random.pick(ARITHMETIC), a: expr(w, depth - 1), b: expr(w, depth - 1) };
      case 6:
        return {
          k: 'shift',
          w,
          op: random.pick(w >= 32 ? ['shl', 'shr', 'sar'] : ['shl', 'shr']),
          a: expr(w, depth - 1),
          by: random.below(w),
        };
      case 7:
        return { k: 'not', w, a: expr(w, depth - 1) };
      case 8:
        return { k: 'resize', w, a: expr(random.pick(WIDTHS), depth - 1) };
      case 9:
      case 10:
      case 11:
        return {
          k: random.pick(['select', 'when', 'early']),
          w,
          test: test(depth - 1),
          a: expr(w, depth - 1),
          b: expr(w, depth - 1),
        };
      case 12:
        return { k: 'forget', w, a: expr(w, depth - 1) };
      default:
        if (w === 8) return { k: 'variable', w, index: random.below(64) };
        if (w === 64 && random.below(3) === 0) return { k: 'mix', w, a: expr(64, depth - 1), b: expr(32, depth - 1) };
        return { k: 'network', w, a: expr(w, depth - 1), raw: random.below(2) === 0 };
    }
  };
  const test = (depth: number): Test => {
    const kind = depth <= 0 ? 0 : random.below(6);
    if (kind === 4) return { k: random.pick(['and', 'or']), a: test(depth - 1), b: test(depth - 1) };
    if (kind === 5) return { k: 'not', a: test(depth - 1) };
    const w = random.pick(WIDTHS);
    if (kind === 3)
      return { k: 'oneOf', a: expr(w, depth - 1), values: [random.bits(w), random.bits(w), random.bits(w)] };
    const op = w >= 32 ? random.pick([...COMPARISONS, ...SIGNED]) : random.pick(COMPARISONS);
    return { k: 'compare', op, a: expr(w, depth - 1), b: expr(w, depth - 1) };
  };
  const block = (depth: number, most: number): Statement[] => {
    const list: Statement[] = [];
    for (let count = random.below(most) + 1; count > 0 && budget > 0; count--) list.push(statement(depth));
    return list;
  };
  const statement = (depth: number): Statement => {
    budget--;
    const w = random.pick(WIDTHS);
    switch (random.below(depth > 0 ? 19 : 14)) {
      case 0:
      case 1:
      case 2:
        return { k: 'let', value: expr(w, 3) };
      case 3:
      case 4:
        return { k: 'set', index: random.below(64), value: expr(w, 3) };
      case 5:
      case 6:
        return { k: 'read', w, index: random.below(8) };
      case 7:
        return { k: 'write', index: random.below(4), value: expr(32, 2) };
      case 8:
        return { k: 'skip', by: expr(8, 1) };
      case 9: {
        const size = random.pick([32, 64] as const);
        return {
          k: 'atomic',
          op: random.pick(ATOMICS),
          size,
          value: expr(size, 2),
          expected: expr(size, 1),
          index: random.below(64),
        };
      }
      case 10:
        return { k: 'element', at: expr(32, 1), value: expr(32, 2), index: random.below(64) };
      case 11:
        return { k: 'store', key: expr(32, 1), value: expr(64, 2) };
      case 12:
        return { k: 'recall', key: expr(32, 1), index: random.below(64) };
      case 13:
        return { k: 'clobber' };
      case 14:
        return {
          k: 'loop',
          times: 1 + random.below(3),
          body: block(depth - 1, 4),
          breakIf: random.below(2) === 0 ? test(1) : undefined,
          continueIf: random.below(2) === 0 ? test(1) : undefined,
        };
      case 15:
        return {
          k: 'if',
          test: test(2),
          then: [...block(depth - 1, 2), { k: 'exit', code: random.below(4) }],
          otherwise: [],
        };
      case 16:
        return {
          k: 'inline',
          index: random.below(64),
          test: test(2),
          early: expr(w, 2),
          body: block(depth - 1, 3),
          end: expr(w, 2),
        };
      default:
        return {
          k: 'if',
          test: test(2),
          then: block(depth - 1, 4),
          otherwise: random.below(2) === 0 ? block(depth - 1, 4) : [],
        };
    }
  };
  const statements: Statement[] = [];
  while (budget > 0) statements.push(statement(2));
  return { statements };
}

// What programs work on. The frame has 128 bytes; the cursor skips at most 15 bytes six times.
export const FRAME_SIZE = 128;
const MAX_SKIPS = 6;
const Words = struct('words', { w32: u32, pad: u32, w64: u64, table: array(u32, 8) });
const Header8 = struct('header8', { before: array(u8, 3), value: u8 });
const Header16 = struct('header16', { before: u32, value: u16 });
const Header32 = struct('header32', { before: u64, value: u32 });
const Header64 = struct('header64', { before: u32, pad: u32, value: u64 });
const Output = struct('output', { values: array(u64, 16) });
export const outputMap = arrayMap('output', { value: Output, maxEntries: 1 });
export const wordsMap = arrayMap('words', { value: Words, maxEntries: 1 });
export const memory = hashMap('memory', { key: u32, value: u64, maxEntries: 8 });

const mask = (w: number): bigint => (1n << BigInt(w)) - 1n;

const mixFunction = func('mix', [64, 32], 64, ($, a, b) => {
  $.if(a.lt(b.u64()), () => a.xor(b.u64().mul(0x9e3779b97f4a7c15n)));
  return a.add(b.u64()).mul(3);
});
const mixModel = (a: bigint, b: bigint): bigint =>
  BigInt.asUintN(64, a < b ? a ^ BigInt.asUintN(64, b * 0x9e3779b97f4a7c15n) : (a + b) * 3n);

/** The slot of the output that the n-th variable ends up in. */
const OUTPUTS = 15;

type AnyInt = Int<64>;
type AnyVariable = IntVariable<64>;

/** Writes the program with the DSL. */
export function emitProgram({ statements }: RandomProgram): ProgramSpec {
  return xdp('random', ($, packet) => {
    const output = $.at(outputMap, 0);
    const words = $.at(wordsMap, 0);
    const variables: AnyVariable[] = [
      $.let($.u64(1)),
      $.let($.u32(2)) as never,
      $.let($.u16(3)) as never,
      $.let($.u8(4)) as never,
    ];
    const visible = (w: number): AnyVariable[] => variables.filter((variable) => (variable.width as number) === w);
    const pick = (w: number, index: number): AnyVariable => visible(w)[index % visible(w).length]!;
    const constant = (w: number, value: bigint): AnyInt => $.u64(value)[`u${String(w)}` as 'u64']();

    const expr = (e: Expr): AnyInt => {
      switch (e.k) {
        case 'literal':
          return constant(e.w, e.value);
        case 'variable':
          return pick(e.w, e.index);
        case 'arithmetic':
          return e.b.k === 'literal' && e.op !== 'shl' && e.op !== 'shr'
            ? expr(e.a)[e.op](e.b.value)
            : shiftSafe(e, expr(e.a), expr(e.b));
        case 'shift':
          return expr(e.a)[e.op](e.by);
        case 'not':
          return expr(e.a).not();
        case 'resize':
          return expr(e.a)[`u${String(e.w)}` as 'u64']();
        case 'select':
          return $.select(test(e.test), expr(e.a), expr(e.b));
        case 'when':
          return $.when(
            test(e.test),
            () => expr(e.a),
            () => expr(e.b),
          );
        case 'early':
          return $.inline(e.w as 64, (out) => {
            out.if(test(e.test), () => expr(e.a));
            return expr(e.b);
          });
        case 'forget':
          return expr(e.a).forget();
        case 'network': {
          const network = expr(e.a).toNetwork();
          return e.raw ? network.raw() : network.host();
        }
        case 'mix':
          return $.invoke(mixFunction, expr(e.a), expr(e.b) as never);
      }
    };
    /** A constant amount that the width does not allow is an error of the author, so it is narrowed here and in the model. */
    const shiftSafe = (e: Expr & { k: 'arithmetic' }, a: AnyInt, b: AnyInt): AnyInt =>
      e.op === 'shl' || e.op === 'shr' ? a[e.op](b.and(e.w - 1)) : a[e.op](b);
    const test = (t: Test): Condition => {
      switch (t.k) {
        case 'compare':
          return expr(t.a)[t.op](t.b.k === 'literal' ? t.b.value : expr(t.b));
        case 'and':
        case 'or':
          return test(t.a)[t.k](test(t.b));
        case 'not':
          return test(t.a).not();
        case 'oneOf':
          return expr(t.a).oneOf(t.values);
      }
    };
    const header = (w: Width): typeof Header64 =>
      ({ 8: Header8, 16: Header16, 32: Header32, 64: Header64 })[w] as never;
    const scope = (body: () => void): void => {
      const count = variables.length;
      body();
      variables.length = count;
    };
    let skips = 0;
    const run = (list: Statement[], p: XdpPacket, b: XdpBuilder): typeof XDP.PASS | undefined => {
      for (const s of list) {
        switch (s.k) {
          case 'let':
            variables.push($.let(expr(s.value)));
            break;
          case 'set':
            pick(s.value.w, s.index).set(expr(s.value));
            break;
          case 'if':
            b.if(
              test(s.test),
              () => {
                let result: typeof XDP.PASS | undefined;
                scope(() => (result = run(s.then, p, b)));
                return result;
              },
              () => {
                scope(() => run(s.otherwise, p, b));
              },
            );
            break;
          case 'loop':
            b.loop(s.times, (round, loop) => {
              if (s.continueIf) loop.continueIf(test(s.continueIf));
              scope(() => {
                variables.push($.let(round) as never);
                run(s.body, p, b);
              });
              if (s.breakIf) loop.breakIf(test(s.breakIf));
            });
            break;
          case 'exit':
            return Object.values(XDP)[s.code];
          case 'inline': {
            const value = $.inline({ value: s.end.w as 64, early: 8 }, (out) => {
              // Left from a loop, by the builder around it.
              b.loop(2, (round) => {
                b.if(round.ne(0).and(test(s.test)), () => out.leave({ value: expr(s.early), early: 1 }));
              });
              scope(() => run(s.body, p, b));
              return { value: expr(s.end), early: 0 };
            });
            pick(s.end.w, s.index).set(value.value);
            pick(8, 0).set(pick(8, 0).add(value.early as never));
            break;
          }
          case 'read':
            p.peek(header(s.w)).match({
              some: (view) => {
                pick(s.w, s.index).set(view.value);
              },
            });
            break;
          case 'write':
            p.peek(Words).match({
              some: (view) => {
                view.table.ref(s.index).set(expr(s.value) as never);
              },
            });
            break;
          case 'skip':
            if (skips++ >= MAX_SKIPS) break;
            p.skip(expr(s.by).u8().and(15), { max: 12 }).match({
              some: () => {
                pick(64, 0).set(pick(64, 0).add(1));
              },
              none: () => {
                pick(64, 0).set(pick(64, 0).add(2));
              },
            });
            break;
          case 'atomic': {
            const place = words.ref(s.size === 32 ? 'w32' : 'w64') as ReturnType<typeof words.ref<'w64'>>;
            const value = expr(s.value);
            if (s.op === 'compareExchange') pick(s.size, s.index).set(place.compareExchange(expr(s.expected), value));
            else {
              const old = place[s.op](value);
              if (old) pick(s.size, s.index).set(old);
            }
            break;
          }
          case 'element': {
            const place = words.table.ref(expr(s.at).and(7));
            pick(32, s.index).set(place.get() as never);
            place.set(expr(s.value) as never);
            break;
          }
          case 'store':
            $.update(memory, expr(s.key).and(7) as never, expr(s.value));
            break;
          case 'recall':
            $.lookup(memory, expr(s.key).and(7) as never).match({
              some: (found) => {
                pick(64, s.index).set(found.value);
              },
              none: () => {
                pick(64, s.index).set(0);
              },
            });
            break;
          case 'clobber':
            $.randomU32();
        }
      }
      return undefined;
    };
    run(statements, packet, $);
    variables.slice(0, OUTPUTS).forEach((variable, index) => {
      output.values.ref(index).set(variable.u64());
    });
    return XDP.PASS;
  });
}

class Leave extends Error {
  readonly code: number;
  constructor(code: number) {
    super();
    this.code = code;
  }
}

export interface Outcome {
  readonly verdict: number;
  readonly frame: string;
  readonly output: readonly bigint[];
  readonly w32: number;
  readonly w64: bigint;
  readonly table: readonly number[];
  readonly memory: readonly (readonly [number, bigint])[];
}

/** Evaluates the program in plain TypeScript. */
export function evaluateProgram({ statements }: RandomProgram, input: Uint8Array): Outcome {
  const frame = Buffer.from(input);
  const output = Array.from({ length: 16 }, () => 0n);
  const table = Array.from({ length: 8 }, () => 0);
  const kept = new Map<number, bigint>();
  let w32 = 0n;
  let w64 = 0n;
  let cursor = 0;
  let skips = 0;
  const variables: { w: number; value: bigint }[] = [
    { w: 64, value: 1n },
    { w: 32, value: 2n },
    { w: 16, value: 3n },
    { w: 8, value: 4n },
  ];
  const pick = (w: number, index: number): { w: number; value: bigint } => {
    const visible = variables.filter((variable) => variable.w === w);
    return visible[index % visible.length]!;
  };
  const swap = (value: bigint, w: number): bigint => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(value);
    return BigInt(`0x${bytes.subarray(0, w / 8).toString('hex')}`);
  };
  const calculate = (op: string, w: Width, a: bigint, b: bigint): bigint => {
    switch (op) {
      case 'add':
        return a + b;
      case 'sub':
        return a - b;
      case 'mul':
        return a * b;
      case 'div':
        return b === 0n ? 0n : a / b;
      case 'mod':
        return b === 0n ? a : a % b;
      case 'and':
        return a & b;
      case 'or':
        return a | b;
      case 'xor':
        return a ^ b;
      case 'shl':
        return a << (b & BigInt(w - 1));
      case 'shr':
        return a >> (b & BigInt(w - 1));
      default:
        return BigInt.asIntN(w, a) >> b; // sar
    }
  };
  const expr = (e: Expr): bigint => {
    switch (e.k) {
      case 'literal':
        return e.value;
      case 'variable':
        return pick(e.w, e.index).value;
      case 'arithmetic':
        return BigInt.asUintN(e.w, calculate(e.op, e.w, expr(e.a), expr(e.b)));
      case 'shift':
        return BigInt.asUintN(e.w, calculate(e.op, e.w, expr(e.a), BigInt(e.by)));
      case 'not':
        return mask(e.w) ^ expr(e.a);
      case 'resize':
        return expr(e.a) & mask(e.w);
      case 'forget':
        return expr(e.a);
      case 'select':
      case 'when':
      case 'early': {
        const [chosen, a, b] = [test(e.test), expr(e.a), expr(e.b)];
        return chosen ? a : b;
      }
      case 'network':
        return e.raw ? swap(expr(e.a), e.w) : expr(e.a);
      case 'mix':
        return mixModel(expr(e.a), expr(e.b));
    }
  };
  const compare = (op: string, w: Width, a: bigint, b: bigint): boolean => {
    const [sa, sb] = [BigInt.asIntN(w, a), BigInt.asIntN(w, b)];
    return (
      {
        eq: a === b,
        ne: a !== b,
        lt: a < b,
        le: a <= b,
        gt: a > b,
        ge: a >= b,
        hasAny: (a & b) !== 0n,
        slt: sa < sb,
        sle: sa <= sb,
        sgt: sa > sb,
        sge: sa >= sb,
      } as Record<string, boolean>
    )[op]!;
  };
  const test = (t: Test): boolean => {
    switch (t.k) {
      case 'compare':
        return compare(t.op, t.a.w, expr(t.a), expr(t.b));
      case 'and':
        return test(t.a) && test(t.b);
      case 'or':
        return test(t.a) || test(t.b);
      case 'not':
        return !test(t.a);
      case 'oneOf':
        return t.values.includes(expr(t.a));
    }
  };
  const scope = (body: () => void): void => {
    const count = variables.length;
    body();
    variables.length = count;
  };
  // A skip statement counts once where it stands in the text, however often it runs.
  const allowedSkips = new Set<Statement>();
  const count = (list: Statement[]): void => {
    for (const s of list) {
      if (s.k === 'skip' && skips++ < MAX_SKIPS) allowedSkips.add(s);
      if (s.k === 'if') {
        count(s.then);
        count(s.otherwise);
      }
      if (s.k === 'loop' || s.k === 'inline') count(s.body);
    }
  };
  count(statements);
  const run = (list: Statement[]): void => {
    for (const s of list) {
      switch (s.k) {
        case 'let':
          variables.push({ w: s.value.w, value: expr(s.value) });
          break;
        case 'set':
          pick(s.value.w, s.index).value = expr(s.value);
          break;
        case 'if':
          scope(() => {
            run(test(s.test) ? s.then : s.otherwise);
          });
          break;
        case 'loop':
          for (let round = 0; round < s.times; round++) {
            if (s.continueIf && test(s.continueIf)) continue;
            scope(() => {
              variables.push({ w: 32, value: BigInt(round) });
              run(s.body);
            });
            if (s.breakIf && test(s.breakIf)) break;
          }
          break;
        case 'exit':
          throw new Leave(s.code);
        case 'inline': {
          const early = test(s.test);
          if (!early) {
            scope(() => {
              run(s.body);
            });
          }
          pick(s.end.w, s.index).value = expr(early ? s.early : s.end);
          const count8 = pick(8, 0);
          count8.value = BigInt.asUintN(8, count8.value + (early ? 1n : 0n));
          break;
        }
        case 'read': {
          const [at, size] = { 8: [3, 4], 16: [4, 6], 32: [8, 12], 64: [8, 16] }[s.w] as [number, number];
          if (cursor + size <= frame.length) {
            const raw = frame.subarray(cursor + at, cursor + at + s.w / 8).toReversed();
            pick(s.w, s.index).value = BigInt(`0x${Buffer.from(raw).toString('hex')}`);
          }
          break;
        }
        case 'write':
          if (cursor + Words.size <= frame.length)
            frame.writeUInt32LE(Number(expr(s.value)), cursor + 16 + 4 * s.index);
          break;
        case 'skip': {
          if (!allowedSkips.has(s)) break;
          const by = Number(expr(s.by) & 15n);
          const target = pick(64, 0);
          if (by <= 12) cursor += by;
          target.value = BigInt.asUintN(64, target.value + (by <= 12 ? 1n : 2n));
          break;
        }
        case 'atomic': {
          const value = expr(s.value);
          const expected = expr(s.expected);
          const old = s.size === 32 ? w32 : w64;
          const kind = s.op.replace(/^(atomic|fetch)/, '').toLowerCase();
          let next = value;
          if (kind === 'add' || kind === 'and' || kind === 'or' || kind === 'xor')
            next = BigInt.asUintN(s.size, calculate(kind, s.size, old, value));
          if (s.op === 'compareExchange') next = old === expected ? value : old;
          if (s.size === 32) w32 = next;
          else w64 = next;
          if (!s.op.startsWith('atomic')) pick(s.size, s.index).value = old;
          break;
        }
        case 'element': {
          const at = Number(expr(s.at) & 7n);
          pick(32, s.index).value = BigInt(table[at]!);
          table[at] = Number(expr(s.value));
          break;
        }
        case 'store':
          kept.set(Number(expr(s.key) & 7n), expr(s.value));
          break;
        case 'recall':
          pick(64, s.index).value = kept.get(Number(expr(s.key) & 7n)) ?? 0n;
          break;
        case 'clobber':
      }
    }
  };
  let verdict = 2;
  try {
    run(statements);
    variables.slice(0, OUTPUTS).forEach((variable, index) => (output[index] = variable.value));
  } catch (error) {
    if (!(error instanceof Leave)) throw error;
    verdict = error.code;
  }
  const sorted = [...kept].toSorted(([a], [b]) => a - b);
  return { verdict, frame: frame.toString('hex'), output, w32: Number(w32), w64, table, memory: sorted };
}
