import { printable, shorten } from '../net/quote.ts';
import { SeawallError } from '../ebpf/language.ts';

const LONGEST = 1000;

/** An option of the operator that cannot be used. `path` names it as the operator wrote it. */
export class PolicyError extends SeawallError {
  readonly code = 'POLICY';
  readonly path: string;

  constructor(path: string, message: string, options?: ErrorOptions) {
    // Both may quote a foreign file.
    super(printable(shorten(`${path}: ${message}`, LONGEST)), options);
    this.path = path;
  }
}
