/** For tests only: makes calls into the kernel fail before they are made, to show that their callers clean up. */

/** Is told which call is about to be made; the errno that it is to fail with, or undefined to let it through. */
export type Fault = (call: string) => string | undefined;

let fault: Fault | undefined;

/** From now on every bpf(2) command and every mapping is asked about; undefined ends it. */
export function injectFaults(next: Fault | undefined): void {
  fault = next;
}

/** The errno that a call is to fail with. */
export const faultOf = (call: string): string | undefined => fault?.(call);
