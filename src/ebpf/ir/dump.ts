import type { Address, Block, IrFunction, Op, Operand, Terminator } from './ir.ts';

const operand = (value: Operand): string => (typeof value === 'number' ? `v${String(value - 16)}` : String(value));
const address = ({ base, offset }: Address): string =>
  `[${typeof base === 'number' ? operand(base) : `slot${String(base.slot)}`}${offset < 0 ? '' : '+'}${String(offset)}]`;

function text(op: Op | Terminator): string {
  switch (op.op) {
    case 'mov':
      return `${operand(op.dst)} = ${operand(op.src)}`;
    case 'truncate':
      return `${operand(op.dst)} = low32 ${operand(op.src)}`;
    case 'alu':
      return `${operand(op.dst)} = ${op.alu}${String(op.width)} ${operand(op.a)}, ${operand(op.b)}`;
    case 'swap':
      return `${operand(op.dst)} = swap${String(op.bits)} ${operand(op.a)}`;
    case 'load':
      return `${operand(op.dst)} = load${String(op.size * 8)} ${address(op.from)}`;
    case 'store':
      return `store${String(op.size * 8)} ${address(op.to)}, ${operand(op.src)}`;
    case 'atomic': {
      const expected = op.expected === undefined ? '' : `, expect ${operand(op.expected)}`;
      const result = op.dst === undefined ? '' : `${operand(op.dst)} = `;
      return `${result}atomic_${op.kind}${String(op.size * 8)} ${address(op.to)}, ${operand(op.src)}${expected}`;
    }
    case 'frame':
      return `${operand(op.dst)} = address of slot${String(op.slot)}+${String(op.offset)}`;
    case 'map':
      return `${operand(op.dst)} = map ${op.map}`;
    case 'mapValue':
      return `${operand(op.dst)} = value of ${op.map}+${String(op.offset)}`;
    case 'function':
      return `${operand(op.dst)} = address of ${op.callee}`;
    case 'call':
    case 'kernelCall':
    case 'invoke': {
      const callee =
        op.op === 'call' ? `helper ${String(op.helper)}` : op.op === 'kernelCall' ? `kernel ${op.name}` : op.callee;
      return `${op.dst === undefined ? '' : `${operand(op.dst)} = `}call ${callee}(${op.args.map(operand).join(', ')})`;
    }
    case 'jump':
      return `goto b${String(op.to)}`;
    case 'branch': {
      const test = `${op.compare}${String(op.width)} ${operand(op.a)}, ${operand(op.b)}`;
      return `if ${test} then b${String(op.then)} else b${String(op.otherwise)}`;
    }
    case 'exit':
      return `exit ${operand(op.value)}`;
  }
}

function row(op: Op | Terminator): string {
  const line = `  ${text(op)}`;
  return op.note === undefined ? line : `${line.padEnd(44)} ; ${op.note}`;
}

function dumpBlock(block: Block): string {
  const end = block.end ? [row(block.end)] : [];
  return [`b${String(block.id)}:`, ...block.ops.map(row), ...end].join('\n');
}

/** A function of the intermediate representation as text, a line an operation. */
export function dumpFunction(fn: IrFunction): string {
  return [`func ${fn.name}(${fn.params.map(operand).join(', ')})`, ...fn.blocks.map(dumpBlock)].join('\n');
}
