import { lineTable } from '../btf/program-info.ts';
import { SeawallError } from '../errors.ts';
import type { CompiledCode } from '../ir/compile.ts';
import { codeFrame, isAuthorsFrame, type SourceLocation } from '../source-location.ts';

/**
 * A program that the kernel refused: the reason, and the TypeScript line that emitted the instruction. Printing shows these; the verifier's log,
 * which fills pages, is in `log`.
 */
export class VerifierError extends SeawallError {
  readonly code = 'VERIFIER';
  // Behind getters: what prints errors prints every field of them.
  readonly #reason: string;
  readonly #location: SourceLocation | undefined;
  readonly #log: string;

  constructor(program: string, code: CompiledCode, log: string, options?: ErrorOptions) {
    const { reason, slot } = readVerifierLog(log);
    const location = slot === undefined ? undefined : authorLine(code, slot);
    const where = location ? `\n${codeFrame(location)}` : '';
    const at = slot === undefined ? '' : ` (instruction ${String(slot)})`;
    super(`load program ${program}: the verifier refused it: ${reason}${at}${where}`, options);
    this.#reason = reason;
    this.#location = location;
    this.#log = log;
    this.stack = shortStack(this);
    // Node prints the cause of an uncaught error, whatever its inspect method prints.
    if (this.cause instanceof Error) this.cause.stack = String(this.cause);
  }

  /** The kernel's last words on the matter. */
  get reason(): string {
    return this.#reason;
  }
  get location(): SourceLocation | undefined {
    return this.#location;
  }
  /** Everything the verifier wrote. */
  get log(): string {
    return this.#log;
  }

  /** How `console.log` prints it. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.stack!;
  }

  /** How loggers and test runners print it. */
  toJSON(): { readonly name: string; readonly code: string; readonly message: string } {
    const { name, code, message } = this;
    return { name, code, message };
  }
}

/** The message, and the frames of the author's code. */
function shortStack(error: Error): string {
  const frames = (error.stack ?? '').slice(`${String(error)}\n`.length).split('\n');
  return [String(error), ...frames.filter(isAuthorsFrame)].join('\n');
}

/** Lines that describe state or sum up, and are not the reason. */
const NOISE =
  /^(processed \d+ insns|verification time|stack depth|max_states|;|from \d+|R\d+(_\w+)?=|\d+: R\d|mark_precise|last_idx|regs=|parent |func#|insn_stats)/;
const STEP = /^(\d+): \([0-9a-f]{2}\)/;

/** The reason and the slot of the instruction that a verifier log ends with. */
function readVerifierLog(log: string): { reason: string; slot: number | undefined } {
  const lines = log
    .split('\n')
    .map((line) => line.trimEnd())
    .filter((line) => line !== '');
  let slot: number | undefined;
  let reason: string | undefined;
  for (const line of lines.toReversed()) {
    const step = STEP.exec(line);
    if (step) {
      slot = Number(step[1]);
      break;
    }
    if (!NOISE.test(line)) {
      reason ??= line;
      // Complaints about the form of the program name the instruction themselves.
      const named = /\binsn (\d+)\b/.exec(line);
      if (named) {
        slot = Number(named[1]);
        break;
      }
    }
  }
  return { reason: reason ?? 'no reason given', slot };
}

function authorLine(code: CompiledCode, slot: number): SourceLocation | undefined {
  return lineTable(code).findLast((entry) => entry.slot <= slot)?.location;
}
