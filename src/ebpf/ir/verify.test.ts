import { expect, it } from 'vitest';
import { arrayMap, func, u64, XDP, xdp } from '../language.ts';
import type { Block, IrFunction, Op } from './ir.ts';
import { verifyFunction } from './verify.ts';

const cell = arrayMap('cell', { value: u64, maxEntries: 1 });
const twice = func('twice', [32], 32, (_$, a) => a.add(a));

/** A program with a branch, a call, memory of the frame and of a map. */
function sound(): { fn: IrFunction; verify: () => void } {
  const { functions } = xdp('sound', ($) => {
    const variable = $.let($.invoke(twice, $.randomU32()));
    $.if(variable.eq(3), () => {
      $.at(cell, 0).ref('value').add(variable.u64());
      variable.set(variable.shl(2));
    });
    $.lookup(cell, variable).orExit(XDP.PASS);
    return variable;
  });
  const fn = functions[0]!;
  return {
    fn,
    verify: () => {
      verifyFunction(fn, (callee) => functions.find(({ name }) => name === callee)?.params.length);
    },
  };
}

function change<Kind extends Op['op']>(fn: IrFunction, kind: Kind, how: (op: Op & { op: Kind }) => Op): void {
  const block = fn.blocks.find(({ ops }) => ops.some(({ op }) => op === kind))!;
  const at = block.ops.findIndex(({ op }) => op === kind);
  block.ops[at] = how(block.ops[at] as Op & { op: Kind });
}

const last = (fn: IrFunction): Block => fn.blocks.at(-1)!;

it('takes what the toolkit makes', () => {
  expect(sound().verify).not.toThrow();
});

it.each<[string, RegExp, (fn: IrFunction) => void]>([
  [
    'a block without an end',
    /it does not end/,
    (fn) => {
      last(fn).end = undefined;
    },
  ],
  [
    'a way to nowhere',
    /there is no block 99 to go to/,
    (fn) => {
      fn.blocks[0]!.end = { op: 'jump', to: 99 };
    },
  ],
  ['two blocks of one number', /two blocks have this number/, (fn) => fn.blocks.push({ ...last(fn) })],
  [
    'a register that one path has not written',
    /v\d+ is read, and not every path to here has written it/,
    (fn) => {
      // The first copy gives the variable its first value; what the branch writes is not enough.
      change(fn, 'mov', (op) => ({ ...op, dst: fn.nextVReg++ }));
    },
  ],
  [
    'a register that is written behind its use',
    /is read, and not every path/,
    (fn) => {
      fn.blocks[0]!.ops.reverse();
    },
  ],
  [
    'a register that the function does not have',
    /writes v\d+, which is no register of the function/,
    (fn) => {
      change(fn, 'mov', (op) => ({ ...op, dst: fn.nextVReg }));
    },
  ],
  [
    'a shift beyond the width',
    /a shift by 32 in 32 bits/,
    (fn) => {
      fn.blocks[0]!.ops.push({ op: 'alu', alu: 'lsh', width: 32, dst: fn.nextVReg++, a: 1n, b: 32n });
    },
  ],
  [
    'a constant that does not fit',
    /4294967296 does not fit 32 bits/,
    (fn) => {
      fn.blocks[0]!.ops.push({ op: 'alu', alu: 'add', width: 32, dst: fn.nextVReg++, a: 1n, b: 1n << 32n });
    },
  ],
  [
    'a pointer that is calculated with',
    /v\d+ is a pointer, where a number is wanted/,
    (fn) => {
      const dst = fn.nextVReg++;
      fn.blocks[0]!.ops.push({ op: 'frame', dst, slot: 0, offset: 0 });
      fn.blocks[0]!.ops.push({ op: 'alu', alu: 'mul', width: 64, dst: fn.nextVReg++, a: dst, b: 2n });
    },
  ],
  [
    'the address of a function that is not there',
    /there is no function missing/,
    (fn) => {
      fn.blocks[0]!.ops.push({ op: 'function', dst: fn.nextVReg++, callee: 'missing' });
    },
  ],
  [
    'a function that is read as memory',
    /is a function, not memory/,
    (fn) => {
      const dst = fn.nextVReg++;
      fn.blocks[0]!.ops.push({ op: 'function', dst, callee: 'twice' });
      fn.blocks[0]!.ops.push({ op: 'load', size: 4, dst: fn.nextVReg++, from: { base: dst, offset: 0 } });
    },
  ],
  [
    'a map that is read as memory',
    /is a map, not memory/,
    (fn) => {
      const dst = fn.nextVReg++;
      fn.blocks[0]!.ops.push({ op: 'map', dst, map: 'cell' });
      fn.blocks[0]!.ops.push({ op: 'load', size: 4, dst: fn.nextVReg++, from: { base: dst, offset: 0 } });
    },
  ],
  [
    'a slot that is not there',
    /there is no slot 7/,
    (fn) => {
      change(fn, 'frame', (op) => ({ ...op, slot: 7 }));
    },
  ],
  [
    'a place outside its slot',
    /byte 8 of slot 0, which has 8/,
    (fn) => {
      change(fn, 'store', (op) => ({ ...op, size: 8, to: { base: { slot: 0 }, offset: 8 } }));
    },
  ],
  [
    'a call of no function',
    /there is no function thrice/,
    (fn) => {
      change(fn, 'invoke', (op) => ({ ...op, callee: 'thrice' }));
    },
  ],
  [
    'an argument too many',
    /twice takes 1 arguments, 2 given/,
    (fn) => {
      change(fn, 'invoke', (op) => ({ ...op, args: [1n, 2n] }));
    },
  ],
  [
    'six arguments',
    /6 arguments, and registers for five/,
    (fn) => {
      change(fn, 'call', (op) => ({ ...op, args: [1n, 2n, 3n, 4n, 5n, 6n] }));
    },
  ],
])('refuses %s', (_what, message, harm) => {
  const { fn, verify } = sound();
  harm(fn);
  expect(verify).toThrow(message);
});
