/** Steps of one letter (insert, remove, change) from one word to another (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length]!;
}

/** The word that was probably meant, or undefined where none is close. */
export function nearest(word: string, words: readonly string[]): string | undefined {
  // No word of a policy is half as long; the steps of a longer one would take its length squared.
  if (word.length > 64) return undefined;
  const ranked = words.map((candidate) => ({ candidate, steps: distance(word.toLowerCase(), candidate) }));
  const [best] = ranked.toSorted((a, b) => a.steps - b.steps);
  return best && best.steps <= Math.max(2, word.length / 2) ? best.candidate : undefined;
}
