const LONGEST = 80;

/** Control, format and separator characters, and lone surrogates: a terminal may act on them or reorder its text. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** Foreign text, safe to print: control characters are escaped, except those in `keep`. */
export function printable(text: string, keep = ''): string {
  return text.replaceAll(UNPRINTABLE, (character) =>
    keep.includes(character) ? character : `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}

/** Text of at most `longest` characters: the middle of a longer text is left out. */
export function shorten(text: string, longest = LONGEST): string {
  if (text.length <= longest) return text;
  const half = Math.floor((longest - 5) / 2);
  return `${text.slice(0, half)} ... ${text.slice(-half)}`;
}

/** Foreign text in a message: in quotes, printable and short. */
export const quote = (text: string): string => `"${printable(shorten(text))}"`;
