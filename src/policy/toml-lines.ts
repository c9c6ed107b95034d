/**
 * The lines of keys and elements of a TOML text, which its parser does not report. The text has been parsed before, so this scanner trusts its
 * grammar (TOML 1.0) and only follows nesting.
 */
class Scanner {
  /** Lines by path, steps joined with dots. */
  readonly lines = new Map<string, number>();
  readonly #text: string;
  #at = 0;
  #line = 1;
  /** How many elements each array of tables has. */
  readonly #tables = new Map<string, number>();

  constructor(text: string) {
    this.#text = text;
  }

  /** Moves on by a number of characters. */
  #skip(count: number): void {
    for (const end = Math.min(this.#at + count, this.#text.length); this.#at < end; this.#at++)
      if (this.#text[this.#at] === '\n') this.#line++;
  }

  #sees(text: string): boolean {
    return this.#text.startsWith(text, this.#at);
  }

  /** White space, line ends and comments. */
  #blank(): void {
    for (;;) {
      if (this.#sees('#')) while (this.#at < this.#text.length && !this.#sees('\n')) this.#at++;
      else if (/\s/.test(this.#text[this.#at] ?? '')) this.#skip(1);
      else return;
    }
  }

  #string(): string {
    const quote = this.#text[this.#at]!;
    const delimiter = this.#sees(quote.repeat(3)) ? quote.repeat(3) : quote;
    const start = this.#at;
    this.#skip(delimiter.length);
    while (this.#at < this.#text.length && !this.#sees(delimiter))
      this.#skip(quote === '"' && this.#sees('\\') ? 2 : 1);
    this.#skip(delimiter.length);
    // Up to two quotes may stand before those that end it.
    while (delimiter.length === 3 && this.#sees(quote)) this.#skip(1);
    const raw = this.#text.slice(start, this.#at);
    if (quote === "'" || delimiter.length === 3) return raw.slice(delimiter.length, -delimiter.length);
    const wide = raw.replaceAll(/\\U([0-9a-fA-F]{8})/g, (_all, code: string) =>
      String.fromCodePoint(Number.parseInt(code, 16)),
    );
    try {
      return JSON.parse(wide) as string;
    } catch {
      return raw.slice(1, -1); // escapes that JSON does not have
    }
  }

  /** A dotted key. */
  #key(): string[] {
    const steps: string[] = [];
    do {
      if (steps.length > 0) this.#skip(1);
      this.#blank();
      if (this.#sees('"') || this.#sees("'")) steps.push(this.#string());
      else {
        const start = this.#at;
        while (/[\w-]/.test(this.#text[this.#at] ?? '')) this.#at++;
        steps.push(this.#text.slice(start, this.#at));
      }
      this.#blank();
    } while (this.#sees('.'));
    return steps;
  }

  #note(path: readonly string[], line: number): void {
    for (let depth = 1; depth <= path.length; depth++) {
      const name = path.slice(0, depth).join('.');
      if (!this.lines.has(name)) this.lines.set(name, line);
    }
  }

  #value(path: readonly string[]): void {
    this.#blank();
    if (this.#sees('"') || this.#sees("'")) this.#string();
    else if (this.#sees('['))
      this.#sequence(']', (index) => {
        const inner = [...path, String(index)];
        this.#note(inner, this.#line);
        this.#value(inner);
      });
    else if (this.#sees('{'))
      this.#sequence('}', () => {
        this.#pair(path);
      });
    else while (this.#at < this.#text.length && !/[\n,\]}#]/.test(this.#text[this.#at]!)) this.#at++;
  }

  #sequence(end: string, item: (index: number) => void): void {
    this.#skip(1);
    for (let index = 0; ; index++) {
      this.#blank();
      if (this.#sees(end) || this.#at >= this.#text.length) break;
      item(index);
      this.#blank();
      if (this.#sees(',')) this.#skip(1);
    }
    this.#skip(1);
  }

  #pair(table: readonly string[]): void {
    const line = this.#line;
    const start = this.#at;
    const path = [...table, ...this.#key()];
    this.#note(path, line);
    this.#skip(1); // =
    this.#value(path);
    if (this.#at === start) this.#skip(1);
  }

  /** The path of a header, with the number of the element for each array of tables. */
  #header(): string[] {
    const line = this.#line;
    const isArray = this.#sees('[[');
    this.#skip(isArray ? 2 : 1);
    const path: string[] = [];
    const steps = this.#key();
    steps.forEach((step, index) => {
      path.push(step);
      const name = path.join('.');
      if (isArray && index === steps.length - 1) this.#tables.set(name, (this.#tables.get(name) ?? 0) + 1);
      const count = this.#tables.get(name);
      if (count !== undefined) path.push(String(count - 1));
    });
    this.#note(path, line);
    this.#skip(isArray ? 2 : 1);
    return path;
  }

  run(): void {
    let table: string[] = [];
    for (this.#blank(); this.#at < this.#text.length; this.#blank()) {
      if (this.#sees('[')) table = this.#header();
      else this.#pair(table);
    }
  }
}

/** The line, counted from 1, on which the value at this path begins; if the path is not there, that of the nearest table around it. */
export function lineOf(text: string, path: string): number {
  const scanner = new Scanner(text);
  scanner.run();
  const steps = path.split('.');
  for (let depth = steps.length; depth > 0; depth--) {
    const line = scanner.lines.get(steps.slice(0, depth).join('.'));
    if (line !== undefined) return line;
  }
  return 1;
}
