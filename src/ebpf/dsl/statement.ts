/** What source text does with a value, as far as a look around it can tell for sure. */

/** `dropped`: a statement of its own. `returned`: the operand of a return. `used`: anything else, and unclear cases. */
export type Role = 'dropped' | 'returned' | 'used';

const NAME = /[\w$.]/;
const CLOSING: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' };

/** The role of the property `name`, or of a call where there is none, at `offset` in the source. */
export function roleOf(source: string, offset: number, name?: string): Role {
  let start = offset;
  while (start > 0 && NAME.test(source[start - 1]!)) start--;
  let end = offset;
  while (end < source.length && NAME.test(source[end]!)) end++;
  const words = source.slice(start, end);
  if (!/^[A-Za-z_$]/.test(words)) return 'used';
  if (name === undefined) {
    end = endOfArguments(source, end);
    if (end < 0) return 'used';
  } else if (!words.endsWith(`.${name}`)) return 'used';
  const before = codeBefore(source.slice(0, start));
  const after = codeAfter(source.slice(end));
  if (after === undefined) return 'used';
  if (/(?:=>|\breturn)$/.test(before)) return 'returned';
  if (/[,)\]]/.test(after)) return 'used';
  const begins = before === '' || /(?:[;})]|\b(?:else|do))$/.test(before) || /(?:^|[^$])\{$/.test(before);
  return begins && !/\bfor\s*\([^)]*$/.test(before) ? 'dropped' : 'used';
}

/** The offset behind the arguments that begin at `start`, or -1 where there are none, or such that need more than counting brackets. */
function endOfArguments(source: string, start: number): number {
  if (source[start] !== '(') return -1;
  const open: string[] = [];
  for (let at = start; at < source.length; at++) {
    const letter = source[at]!;
    if (letter === '`' || letter === '/') return -1;
    if (letter === "'" || letter === '"') {
      const from = at;
      at = source.indexOf(letter, at + 1);
      if (at < 0 || source.slice(from, at).includes('\\')) return -1;
    } else if (letter in CLOSING) open.push(CLOSING[letter]!);
    else if (letter === open.at(-1)) {
      open.pop();
      if (open.length === 0) return at + 1;
    }
  }
  return -1;
}

/** Code without the comments that it ends with. What looks like a comment inside a string goes as well, which makes it less clear, never wrong. */
function codeBefore(code: string): string {
  const trimmed = code.trimEnd();
  if (trimmed.endsWith('*/')) return codeBefore(trimmed.slice(0, Math.max(0, trimmed.lastIndexOf('/*'))));
  const line = trimmed.lastIndexOf('\n') + 1;
  const comment = trimmed.indexOf('//', line);
  return comment < 0 ? trimmed : codeBefore(trimmed.slice(0, comment));
}

/** The letter that ends the expression before `code`, empty at a line's end; undefined where the expression goes on. */
function codeAfter(code: string): string | undefined {
  const [blank] = /^(?:\s|\/\/.*|\/\*[^]*?\*\/)*/.exec(code)!;
  const next = code.slice(blank.length);
  if (next === '') return '';
  if (/^[;},)\]]/.test(next)) return next[0]!;
  return blank.includes('\n') && /^(?!(?:in|instanceof|as|satisfies)\b)[\w$]/.test(next) ? '' : undefined;
}
