const LONGEST = 80;

/** Control, format and separator characters, and halves of surrogates: what a terminal may obey, or what reorders its text. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** Text that somebody else wrote, safe to print: what a terminal would obey is escaped. `keep` names characters that stay. */
export function printable(text: string, keep = ''): string {
  return text.replaceAll(UNPRINTABLE, (character) =>
    keep.includes(character) ? character : `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}

/** Text of a sane length: the middle of what is longer is left out. */
export function shorten(text: string, longest = LONGEST): string {
  if (text.length <= longest) return text;
  const half = Math.floor((longest - 5) / 2);
  return `${text.slice(0, half)} ... ${text.slice(-half)}`;
}

/** A piece of somebody else's text as a message shows it: in quotes, printable and short. */
export const quote = (text: string): string => `"${printable(shorten(text))}"`;
