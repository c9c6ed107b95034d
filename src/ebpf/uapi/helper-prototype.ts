/** What a helper's argument may be: the program's context, a map, a pointer into readable memory, or a number. */
export type ArgumentKind = 'ctx' | 'map' | 'pointer' | 'scalar';

/** A helper as the kernel's header declares it. `since` is the first kernel release that has it. */
export interface HelperPrototype {
  readonly id: number;
  readonly args: readonly ArgumentKind[];
  readonly returns: 'scalar' | 'pointer' | 'void';
  readonly since: string;
}
