import { readFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A place in a source file; `line` and `column` count from 1. */
export interface SourceLocation {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

let looking = true;

/**
 * Runs `body` without looking for the author's lines, which takes half of the time of emitting a program: for a program that was emitted before.
 * Errors have no line then, and a verdict that is dropped is not refused.
 */
export function withoutSites<T>(body: () => T): T {
  looking = false;
  try {
    return body();
  } finally {
    looking = true;
  }
}

/** Whether it is looked where the author called. */
export function looksForSites(): boolean {
  return looking;
}

/** How deep inside the toolkit an instruction may be emitted below the author's frame: nearly always, mostly otherwise, and at most. */
const DEPTHS = [8, 14, 30];

/** Where the author called the toolkit. Mapping a place to TypeScript is expensive, so it is done on demand. */
export class CallSite {
  #frame: NodeJS.CallSite | undefined;
  #location: SourceLocation | undefined;

  /** Here, or at a place that was known before. */
  constructor(location?: SourceLocation) {
    this.#location = location;
    if (location || !looking) return;
    const { stackTraceLimit, prepareStackTrace } = Error;
    Error.prepareStackTrace = keepFrames;
    for (const depth of DEPTHS) if ((this.#frame = authorsFrame(depth))) break;
    Error.prepareStackTrace = prepareStackTrace;
    Error.stackTraceLimit = stackTraceLimit;
  }

  /** The first frame outside the toolkit: the author's line, in TypeScript where a source map tells. */
  get location(): SourceLocation | undefined {
    return (this.#location ??= this.#frame && locate(this.#frame));
  }
}

/** How many frames of the author's own code are looked at. */
const AUTHORS_DEPTH = 14;

/** Where the author's code called, the inmost place first, as far out as only the author's code called the author's. */
export function* authorsCalls(): Generator<SourceLocation> {
  const { stackTraceLimit, prepareStackTrace } = Error;
  Error.prepareStackTrace = keepFrames;
  Error.stackTraceLimit = AUTHORS_DEPTH;
  const holder: { stack?: NodeJS.CallSite[] } = {};
  Error.captureStackTrace(holder);
  const frames = holder.stack ?? [];
  Error.prepareStackTrace = prepareStackTrace;
  Error.stackTraceLimit = stackTraceLimit;
  const first = frames.findIndex((frame) => !isToolkit(frame.getFileName()));
  if (first < 0) return;
  for (const frame of frames.slice(first)) {
    if (isToolkit(frame.getFileName())) return;
    yield locate(frame);
  }
}

const keepFrames = (_error: Error, frames: NodeJS.CallSite[]): NodeJS.CallSite[] => frames;

/** The first of so many frames that is not the toolkit's. */
function authorsFrame(limit: number): NodeJS.CallSite | undefined {
  const holder: { stack?: NodeJS.CallSite[] } = {};
  Error.stackTraceLimit = limit;
  Error.captureStackTrace(holder, CallSite);
  return holder.stack?.find((frame) => !isToolkit(frame.getFileName()));
}

const toolkitRoot = dirname(fileURLToPath(import.meta.url));

function fileOf(frame: NodeJS.CallSite): string {
  const name = frame.getFileName() ?? '';
  return name.startsWith('file://') ? fileURLToPath(name) : name;
}

/** By the name that the engine gives a file; each of the few files is looked at once. */
const toolkitFiles = new Map<string | null | undefined, boolean>();

function isToolkit(name: string | null | undefined): boolean {
  let known = toolkitFiles.get(name);
  if (known === undefined) {
    const file = name?.startsWith('file://') ? fileURLToPath(name) : (name ?? '');
    known = !file.startsWith('/') || (file.startsWith(`${toolkitRoot}/`) && !/\.test\.[jt]s$/.test(file));
    toolkitFiles.set(name, known);
  }
  return known;
}

/** Whether a line of a stack as text is the author's: no code of the toolkit's, and none of Node's. */
export function isAuthorsFrame(line: string): boolean {
  const file = /(?:^| |\()((?:file:\/\/)?\/[^()]+):\d+:\d+\)?$/.exec(line)?.[1];
  return file !== undefined && !isToolkit(file);
}

const located = new Map<string, SourceLocation>();

function locate(frame: NodeJS.CallSite): SourceLocation {
  const raw = { file: fileOf(frame), line: frame.getLineNumber() ?? 1, column: frame.getColumnNumber() ?? 1 };
  const key = `${raw.file}:${String(raw.line)}:${String(raw.column)}`;
  let location = located.get(key);
  if (!location) {
    location = mapToSource(mapByRunner(frame) ?? raw);
    located.set(key, location);
  }
  return location;
}

/** A runner that compiles TypeScript in memory formats stacks itself, with source maps that only it knows; Node's own way changes nothing. */
function mapByRunner(frame: NodeJS.CallSite): SourceLocation | undefined {
  if (!Error.prepareStackTrace) return undefined;
  const formatted = String(Error.prepareStackTrace(new Error(), [frame]));
  const match = /\(?((?:file:\/\/)?\/[^()\n]+?):(\d+):(\d+)\)?$/m.exec(formatted);
  if (!match) return undefined;
  const [, path = '', line, column] = match;
  return { file: path.startsWith('file://') ? fileURLToPath(path) : path, line: Number(line), column: Number(column) };
}

const sourceMaps = new Map<string, SourceMap | undefined>();

/** The source map beside a compiled file, or undefined where there is none (then the file is its own source). */
function sourceMapOf(file: string): SourceMap | undefined {
  if (!file.endsWith('.js')) return undefined;
  if (!sourceMaps.has(file)) {
    let map: SourceMap | undefined;
    try {
      map = new SourceMap(JSON.parse(readFileSync(`${file}.map`, 'utf8')));
    } catch {
      map = undefined; // no map, or not a readable one: the compiled file has to do
    }
    sourceMaps.set(file, map);
  }
  return sourceMaps.get(file);
}

function mapToSource(location: SourceLocation): SourceLocation {
  const entry = sourceMapOf(location.file)?.findEntry(location.line - 1, location.column - 1);
  if (!entry || !('originalSource' in entry)) return location;
  return {
    file: resolve(dirname(location.file), entry.originalSource),
    line: entry.originalLine + 1,
    column: entry.originalColumn + 1,
  };
}

const sourceFiles = new Map<string, readonly string[]>();

/** The lines of a source file, none where the file is not at hand. */
export function sourceLines(file: string): readonly string[] {
  let lines = sourceFiles.get(file);
  if (!lines) {
    try {
      lines = readFileSync(file, 'utf8').split('\n');
    } catch {
      lines = []; // the package was shipped without its sources
    }
    sourceFiles.set(file, lines);
  }
  return lines;
}

/** The text of one line of a source file, empty where the file is not at hand. */
export function sourceLine({ file, line }: SourceLocation): string {
  return sourceLines(file)[line - 1] ?? '';
}

/** Three lines of source around a location, with a caret under the column. */
export function codeFrame(location: SourceLocation): string {
  const width = String(location.line + 1).length;
  const shown = [location.line - 1, location.line, location.line + 1].filter((line) => line > 0);
  const rows = shown.flatMap((line) => {
    const text = sourceLine({ ...location, line });
    const row = `${line === location.line ? '>' : ' '} ${String(line).padStart(width)} | ${text}`.trimEnd();
    const caret = `  ${' '.repeat(width)} | ${' '.repeat(Math.max(0, location.column - 1))}^`;
    return line === location.line ? [row, caret] : [row];
  });
  return [`${location.file}:${String(location.line)}:${String(location.column)}`, ...rows].join('\n');
}
