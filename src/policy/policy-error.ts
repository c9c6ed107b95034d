import { SeawallError } from '../ebpf/language.ts';

/** An option of the operator that cannot be used. `path` names it as the operator wrote it. */
export class PolicyError extends SeawallError {
  readonly code = 'POLICY';
  readonly path: string;

  constructor(path: string, message: string, options?: ErrorOptions) {
    super(`${path}: ${message}`, options);
    this.path = path;
  }
}
